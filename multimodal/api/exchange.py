"""One HTTP request from arrival to the last byte: its id, its errors, its log line, its count."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multimodal.api.errors import ClientDisconnected, as_error, error_response
from multimodal.api.metrics import Metrics
from multimodal.errors import MultimodalError
from multimodal.types import StageEvent, Usage

logger = logging.getLogger("multimodal.request")

Timer = Callable[[], float]
"""A monotonic clock, seconds."""

_SCOPE_KEY = "multimodal.exchange"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What is known of a request; the parts of the surface fill it in as they go."""

    request_id: str
    started_s: float
    """By the timer of the app."""
    tenant: str = ""
    """Empty until the caller is known."""
    status: int = 0
    """HTTP status that was sent, 0 before."""
    error: MultimodalError | None = None
    usage: Usage | None = None
    stages: list[StageEvent] = field(default_factory=list)
    """Stages that were left, with their seconds."""

    @property
    def outcome(self) -> int:
        """The status, or that of an error that came after it was sent."""
        return self.error.status if self.error else self.status


def exchange_of(scope: Scope) -> Exchange:
    """The exchange of a request that went through ExchangeMiddleware."""
    exchange = scope[_SCOPE_KEY]
    if not isinstance(exchange, Exchange):
        raise TypeError("the request did not go through ExchangeMiddleware")
    return exchange


def answer_error(request: Request, error: Exception) -> Response:
    """Exception handler of the app."""
    exchange = exchange_of(request.scope)
    exchange.error = as_error(error, exchange.request_id)
    response = error_response(exchange.error)
    if isinstance(error, HTTPException) and error.status_code == 405:
        response.headers["allow"] = ", ".join(_methods(request))
    return response


def _methods(request: Request) -> list[str]:
    """What the path can be asked with: the router names the methods of one of its routes only."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    found = [route.methods or set() for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted(set().union(*found))


class ExchangeMiddleware:
    """The outermost layer: every request gets an id, an answer, a log line and a count."""

    def __init__(
        self, app: ASGIApp, *, timer: Timer, metrics: Metrics, paths: Collection[str], send_id: bool
    ) -> None:
        self._app = app
        self._paths = frozenset(paths)
        self._timer = timer
        self._metrics = metrics
        self._send_id = send_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(request_id=_request_id(scope), started_s=self._timer())
        scope[_SCOPE_KEY] = exchange

        async def note_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                if self._send_id:
                    MutableHeaders(scope=message)["x-request-id"] = exchange.request_id
            await send(message)

        try:
            await self._answer(exchange, scope, receive, note_and_send)
        finally:
            self._record(exchange, scope)
            _forget_frames(exchange.error)

    async def _answer(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            exchange.error = ClientDisconnected("The server gave the request up.")
            raise
        except Exception as error:
            exchange.error = as_error(error, exchange.request_id)
            if exchange.status:
                raise  # too late for an answer: the server must cut the connection
            await error_response(exchange.error)(scope, receive, send)

    def _record(self, exchange: Exchange, scope: Scope) -> None:
        endpoint = self._endpoint(scope)
        self._metrics.requests.labels(endpoint, str(exchange.outcome), exchange.tenant).inc()
        if exchange.usage is not None and exchange.usage.completion_tokens:
            self._metrics.count_prompt(exchange.usage)
        logger.info(json.dumps(self._log_line(exchange, endpoint)))

    def _endpoint(self, scope: Scope) -> str:
        """Path of the route: a label must not take its values from clients."""
        path = getattr(scope.get("route"), "path", None)
        if isinstance(path, str):
            return path
        return scope["path"] if scope["path"] in self._paths else "unmatched"

    def _log_line(self, exchange: Exchange, endpoint: str) -> dict[str, object]:
        usage, error = exchange.usage, exchange.error
        line: dict[str, object] = {
            "event": "request",
            "request_id": exchange.request_id,
            "tenant": exchange.tenant,
            "endpoint": endpoint,
            "status": exchange.outcome,
            "duration_ms": round((self._timer() - exchange.started_s) * 1000, 1),
        }
        if error is not None:
            line |= {"code": error.code, "param": error.param}
        if usage is not None:
            line |= {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
            line |= {"cached_tokens": usage.cached_tokens}
        if exchange.stages:
            line["stages"] = [
                {"stage": event.stage, "param": event.param, "seconds": event.seconds}
                | ({"cached": True} if event.cached else {})
                for event in exchange.stages
            ]
        return line


def _request_id(scope: Scope) -> str:
    """The client's, where it is harmless to print, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _forget_frames(error: BaseException | None) -> None:
    """A traceback holds the frames of its request, media included, and one of them holds the error: a cycle
    that would keep them until the next garbage collection."""
    if error is not None:
        error.__traceback__ = error.__cause__ = error.__context__ = None
