"""The one place where an exception becomes an HTTP answer: OpenAI's error envelope."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from multimodal.errors import InvalidRequest, MultimodalError, envelope

logger = logging.getLogger("multimodal.error")

RETRY_AFTER_S: Mapping[int, int] = {429: 1, 503: 5}
"""Retry-After where the error does not say: a queue moves fast, a restarting stage takes a while."""


class InvalidJson(InvalidRequest):
    """The body is not JSON."""

    code = "invalid_json"


class UnknownPartType(InvalidRequest):
    """A content part of a type that is not supported."""

    code = "unknown_part_type"


class UnsupportedParameter(InvalidRequest):
    """A parameter of OpenAI's that cannot be honoured here, and must not be ignored."""

    code = "unsupported_parameter"


class EndpointNotFound(InvalidRequest):
    """No endpoint at that path."""

    status = 404
    type = "not_found_error"
    code = "not_found"


class MethodNotAllowed(InvalidRequest):
    """An endpoint, but not with that method."""

    status = 405
    code = "method_not_allowed"


class ClientDisconnected(MultimodalError):
    """Nobody waits for the answer any more (nginx's status 499)."""

    status = 499
    code = "client_disconnected"


_CLASSES: Mapping[str, type[InvalidRequest]] = {"unknown_part_type": UnknownPartType}
_SENTENCES: Mapping[str, str] = {
    "missing": "is required",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
}
"""By pydantic's error type, where its own words would not help a client."""


def param_of(location: Sequence[int | str]) -> str | None:
    """Dotted name of a field. Names of union members, which schemas write as "<name>", are left out."""
    names = [str(item) for item in location if not str(item).startswith("<")]
    return ".".join(names) or None


def from_validation(errors: Sequence[Mapping[str, object]]) -> InvalidRequest:
    """The first of pydantic's complaints as a sentence. Never repeats the value, which may be megabytes."""
    first = errors[0]
    location, kind = first["loc"], str(first["type"])
    param = param_of(location if isinstance(location, tuple) else ())
    said = _SENTENCES.get(kind, str(first["msg"]).replace("Input should be ", "must be ", 1))
    verb = said.startswith(("must ", "is "))
    message = f"{param or 'The body'}{' ' if verb else ': '}{said}."
    return _CLASSES.get(kind, InvalidRequest)(message, param=param)


def as_error(error: Exception, request_id: str) -> MultimodalError:
    """Any exception as one of ours. Unexpected ones are logged, and the client gets the request id."""
    if isinstance(error, MultimodalError):
        return error
    if isinstance(error, RequestValidationError):
        return from_validation(error.errors())
    if isinstance(error, ClientDisconnect):
        return ClientDisconnected("The client closed the connection.")
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _from_http(error)
    _log_unexpected(error, request_id)
    return MultimodalError(
        f"The server failed on this request. Give its operator this request id: {request_id}"
    )


def _from_http(error: HTTPException) -> MultimodalError:
    if error.status_code == 404:
        return EndpointNotFound("There is no such endpoint. GET /openapi.json lists them.")
    if error.status_code == 405:
        return MethodNotAllowed(
            "This endpoint does not take this method. GET /openapi.json lists those it takes."
        )
    return InvalidRequest("The request is not valid HTTP for this endpoint.")


def _log_unexpected(error: Exception, request_id: str) -> None:
    """One JSON line with types and frames only: the messages of foreign exceptions may hold user content."""
    causes = [
        {"error": type(cause).__qualname__, "traceback": "".join(traceback.format_tb(cause.__traceback__))}
        for cause in _chain(error)
    ]
    logger.error(json.dumps({"event": "unexpected_error", "request_id": request_id, "causes": causes}))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, then what it was raised from, and so on."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def error_headers(error: MultimodalError) -> dict[str, str]:
    """Headers that belong to the status."""
    retry_after_s = error.retry_after_s or RETRY_AFTER_S.get(error.status)
    headers = {"retry-after": str(retry_after_s)} if retry_after_s else {}
    return {**headers, "www-authenticate": "Bearer"} if error.status == 401 else headers


def error_response(error: MultimodalError) -> Response:
    """The answer to a request that failed before anything was sent."""
    return Response(envelope(error), error.status, error_headers(error), media_type="application/json")
