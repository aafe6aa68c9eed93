"""A running server and its files, over HTTP. Everything that may pass by itself is tried again."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from multimodal.client.folder import LocalFile
from multimodal.client.form import UploadForm
from multimodal.errors import ConfigError
from multimodal.retrieval.types import Scalar

T = TypeVar("T")

TRIES = 8
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 30.0
"""Between tries; doubled each time. Together a minute and a half: a Gateway restarts in less."""
LONGEST_RETRY_AFTER_S = 120.0
"""More than a server asks for, unless something is wrong with it."""

CHECK_TRIES = 3
"""Of the first request: that nothing listens is to be known soon."""

_URL = re.compile(r"https?://[^/?#\s]+(/[^?#\s]*)?")
_PASSES = (429, 502, 503, 504)
_TIMEOUT = httpx.Timeout(30.0, read=600.0)
"""The server answers an upload when it has stored it, which may take a while."""


class RemoteError(BaseModel):
    """Why a file could not be processed."""

    code: str
    message: str


class RemoteFile(BaseModel):
    """What the server says of a file."""

    id: str
    filename: str
    sha256: str
    status: Literal["uploaded", "processing", "processed", "error"]
    error: RemoteError | None = None


class _RemoteFiles(BaseModel):
    data: list[RemoteFile]


class Refused(Exception):
    """The server does not take a file, or does not know it. The message is for the user."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _TryAgain(Exception):
    """It may pass."""

    def __init__(self, refused: Refused | None, retry_after_s: float = 0.0) -> None:
        super().__init__()
        self.refused = refused
        """None: there was no answer."""
        self.retry_after_s = retry_after_s


class Server:
    """The files of one server. Calls raise Refused, and ConfigError where nothing else will go better."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._http = http
        self._sleep = sleep
        self._jitter = jitter

    @classmethod
    def at(cls, url: str, key: str | None) -> Server:
        """The one at a URL. Raises ConfigError where that is none."""
        if not _URL.fullmatch(url):
            raise ConfigError("--url must be an address such as http://127.0.0.1:8000.")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return cls(httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT))

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def check(self) -> None:
        """Whether it is there and lets us in."""
        await self._repeat(lambda: self._ask("GET", "/v1/files", params={"limit": "1"}), CHECK_TRIES)

    async def find(self, file: LocalFile, sha256: str) -> RemoteFile | None:
        """A file of that name and those bytes."""
        return await self._repeat(lambda: self._find(file, sha256))

    async def upload(
        self,
        file: LocalFile,
        sha256: str,
        *,
        purpose: str,
        metadata: Mapping[str, Scalar],
        sent: Callable[[int], None],
    ) -> RemoteFile:
        """Send a file. Raises OSError and FileChanged, too.

        `sent` is told of bytes; of a negative number where they have to be sent again.
        """
        sent_bytes = tries = 0

        def count(size_bytes: int) -> None:
            nonlocal sent_bytes
            sent_bytes += size_bytes
            sent(size_bytes)

        async def send() -> RemoteFile:
            nonlocal tries
            tries += 1
            count(-sent_bytes)
            # The answer may have been lost after the file was stored.
            found = await self._find(file, sha256) if tries > 1 else None
            return found or await self._send(UploadForm(file, purpose=purpose, metadata=metadata, sent=count))

        return await self._repeat(send)

    async def get(self, file_id: str) -> RemoteFile:
        """What became of a file."""
        return await self._repeat(lambda: self._file("GET", f"/v1/files/{file_id}"))

    async def retry(self, file_id: str) -> RemoteFile:
        """Have a file processed again."""
        return await self._repeat(lambda: self._file("POST", f"/v1/files/{file_id}/retry"))

    async def _find(self, file: LocalFile, sha256: str) -> RemoteFile | None:
        response = await self._ask("GET", "/v1/files", params={"sha256": sha256})
        found = _read(_RemoteFiles, response).data
        return next((one for one in found if one.filename == file.name and one.sha256 == sha256), None)

    async def _send(self, form: UploadForm) -> RemoteFile:
        headers = {"content-type": form.content_type, "content-length": str(form.size_bytes)}
        return _read(RemoteFile, await self._ask("POST", "/v1/files", content=form, headers=headers))

    async def _file(self, method: str, path: str) -> RemoteFile:
        return _read(RemoteFile, await self._ask(method, path))

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: UploadForm | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One try. Raises _TryAgain, Refused, ConfigError."""
        try:
            response = await self._http.request(method, path, params=params, content=content, headers=headers)
        except httpx.TransportError:
            raise _TryAgain(None) from None
        if response.is_success:
            return response
        refused = Refused(_message(response), response.status_code)
        if response.status_code in (401, 403):
            raise ConfigError(f"{refused} The key is taken from MULTIMODAL_API_KEY.")
        if response.status_code in _PASSES:
            raise _TryAgain(refused, _retry_after_s(response))
        raise refused

    async def _repeat(self, work: Callable[[], Awaitable[T]], tries: int = TRIES) -> T:
        delay_s = FIRST_DELAY_S
        for left in reversed(range(tries)):
            try:
                return await work()
            except _TryAgain as problem:
                if not left:
                    raise self._given_up(problem) from None
                wait_s = max(problem.retry_after_s, delay_s * (0.5 + 0.5 * self._jitter()))
            await self._sleep(wait_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)
        raise AssertionError("the last try returns or raises")

    def _given_up(self, problem: _TryAgain) -> Exception:
        return problem.refused or ConfigError(
            f"No server answers at {self._http.base_url}. Start it with `multimodal serve`, or name another "
            "one with --url."
        )


def _message(response: httpx.Response) -> str:
    """What the server says is wrong, in its own words where it has some."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered with status {response.status_code}."


def _retry_after_s(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    seconds = float(value) if value.isascii() and value.isdecimal() else 0.0
    return min(seconds, LONGEST_RETRY_AFTER_S)


M = TypeVar("M", bound=BaseModel)


def _read(model: type[M], response: httpx.Response) -> M:
    try:
        return model.model_validate_json(response.content)
    except ValidationError:
        raise ConfigError(
            f"What answers at {response.url.host} is no multimodal server, or one of another version."
        ) from None
