"""One exception tree. Each error knows its HTTP status and its OpenAI error type and code.

Errors are raised once, close to the cause, with a sentence that says what to change, and mapped to HTTP
in one handler. Messages never hold paths, addresses, secrets or user content.
"""

from __future__ import annotations

import json
from typing import ClassVar

RESTART_S = 30
"""The embedded engine boots in 25 to 40 s on two cores, most other deployments in 10 s."""

GATEWAY_RESTART_S = 5
"""A Gateway loads no model."""


class MultimodalError(Exception):
    """Base of all errors of ours. Travels between processes: pickling keeps every field."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.__class__, self.message, self.param, self.retry_after_s)


def _rebuild(
    cls: type[MultimodalError], message: str, param: str | None, retry_after_s: int | None
) -> MultimodalError:
    return cls(message, param=param, retry_after_s=retry_after_s)


def envelope(error: MultimodalError) -> bytes:
    """OpenAI's error object as JSON."""
    body = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return json.dumps({"error": body}).encode()


class ConfigError(MultimodalError):
    """The operator's configuration, models or machine cannot work; raised before serving."""

    code = "configuration_error"


class InvalidRequest(MultimodalError):
    """The client must change the request."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidMedia(InvalidRequest):
    """Bytes that are not what they claim, or are damaged."""

    code = "invalid_media"


class NoPictures(InvalidMedia):
    """A container of video that holds sound alone."""

    code = "no_pictures"


class UnsupportedMedia(InvalidRequest):
    """Sound media of a format or codec that is not supported."""

    code = "unsupported_media"


class RemoteUrlRefused(InvalidRequest):
    """Only data URLs are taken."""

    code = "remote_url_not_allowed"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit into the model's context, even with all media text dropped."""

    code = "context_length_exceeded"


class MediaTooLarge(InvalidRequest):
    """A limit on bytes, pixels, seconds or parts."""

    status = 413
    code = "media_too_large"


class BodyTooLarge(InvalidRequest):
    """The HTTP body is over the limit."""

    status = 413
    code = "request_too_large"


class Forbidden(InvalidRequest):
    """This caller may not."""

    status = 403
    type = "permission_error"
    code = "forbidden"


class Unauthenticated(InvalidRequest):
    """No key, or an unknown one."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class ModelNotFound(InvalidRequest):
    """No model of that name."""

    status = 404
    type = "not_found_error"
    code = "model_not_found"


class FileUnknown(InvalidRequest):
    """No file of that id, for this tenant."""

    status = 404
    type = "not_found_error"
    code = "file_not_found"

    @classmethod
    def of(cls, file_id: str, param: str | None = None) -> FileUnknown:
        """The id is quoted only in part: it comes from the client."""
        return cls(
            f"There is no file {file_id[:64]!r}. GET /v1/files lists those there are.",
            param=param,
        )


class QuotaExceeded(InvalidRequest):
    """The tenant has as much as it may."""

    status = 413
    code = "quota_exceeded"


class Overloaded(MultimodalError):
    """A queue is full."""

    status = 429
    type = "rate_limit_error"
    code = "overloaded"


class StageUnavailable(MultimodalError):
    """A stage is starting or restarting."""

    status = 503
    type = "server_error"
    code = "stage_unavailable"

    @classmethod
    def restarting(cls, stage: str) -> StageUnavailable:
        """A deployment without a running replica: how long a client is told to wait fits an engine's boot."""
        return cls(f"{stage} is restarting. Try again in {RESTART_S} s.", retry_after_s=RESTART_S)


class LostMedia(StageUnavailable):
    """Decoded media went away with the process that held them: loading them again helps."""


class DeadlineExceeded(MultimodalError):
    """The request's deadline passed."""

    status = 504
    type = "timeout_error"
    code = "deadline_exceeded"
