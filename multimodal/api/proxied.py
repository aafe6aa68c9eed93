"""What Ray Serve answers on its own account, as OpenAI's error envelope.

It writes plain text where Gateway could not answer: its queue is full, it died, or it is not there yet. This
is the outermost layer of Serve's HTTP server, in Gateway, or in Serve's proxy where there is no HAProxy.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multimodal.api.errors import EndpointNotFound, error_response
from multimodal.api.sse import error_event
from multimodal.errors import (
    GATEWAY_RESTART_S,
    DeadlineExceeded,
    MultimodalError,
    Overloaded,
    StageUnavailable,
)

OWN_PATHS = "/-/"
"""Serve's own endpoints (health, routes) are for load balancers, not for OpenAI's clients."""


class ProxyEnvelope:
    """Replaces the proxy's own answers; those of the Gateway pass unchanged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OWN_PATHS):
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, receive, send)
        await self._app(scope, receive, answer.send)
        await answer.finish()


class _Answer:
    """One answer on its way to the client."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._started = self._whole = self._streams = self._replaced = False

    async def send(self, message: Message) -> None:
        """Takes the place of the server's `send`."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif not self._replaced:
            self._whole = not message.get("more_body", False)
            await self._send(message)

    async def finish(self) -> None:
        """A Gateway that died leaves nothing, or the beginning of a stream. Of a client that went away the
        server knows, and sends it nothing."""
        if not self._started:
            await self._replace(_gone(), [])
        elif self._streams and not self._whole:
            event = error_event(_gone())
            await self._send({"type": "http.response.body", "body": event, "more_body": False})

    async def _start(self, message: Message) -> None:
        self._started = True
        kind = Headers(raw=message["headers"]).get("content-type", "")
        self._streams = kind.startswith("text/event-stream")
        if message["status"] >= 400 and not kind.startswith("application/json"):
            await self._replace(_error(message["status"]), message["headers"])
        else:
            await self._send(message)

    async def _replace(self, error: MultimodalError, headers: list[tuple[bytes, bytes]]) -> None:
        """Send an error in the place of an answer, of which it keeps the request id."""
        self._started = self._whole = self._replaced = True
        response = error_response(error)
        response.raw_headers += [(name, value) for name, value in headers if name.lower() == b"x-request-id"]
        await response(self._scope, self._receive, self._send)


def _error(status: int) -> MultimodalError:
    """What a status of the proxy means."""
    if status == 404:
        return EndpointNotFound("There is nothing here, or the server is still starting.")
    if status == 408:
        return DeadlineExceeded("The request was not finished in time. Send less, or try again later.")
    if status == 429:
        return Overloaded("The server has too much to do. Try again in 5 s.", retry_after_s=5)
    return _gone()


def _gone() -> StageUnavailable:
    return StageUnavailable(
        f"The server could not take this request. Try again in {GATEWAY_RESTART_S} s.",
        retry_after_s=GATEWAY_RESTART_S,
    )
