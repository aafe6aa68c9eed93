"""A folder, and the real HTTP surface over the fake library, which processes what it is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from multimodal.api import create_app
from multimodal.client.server import Server
from multimodal.config import AppArgs, LibraryArgs
from multimodal.library.records import FileStatus
from tests.unit.api.fakes import FakeService
from tests.unit.api.library_fakes import FakeFiles

UPLOAD_BYTES = 100_000
Answer = Callable[[httpx.Request], httpx.Response | None]


@dataclass
class World:
    """A server that can be made to fail, and time that passes at once."""

    service: FakeService = field(default_factory=FakeService)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each that came through."""
    before: Answer = lambda request: None
    """May answer a request, or raise."""
    after: Answer = lambda request: None
    """The same, when the server has done its work."""
    on_sleep: Callable[[], None] = lambda: None
    slept_s: list[float] = field(default_factory=list)

    @property
    def files(self) -> FakeFiles:
        return self.service.library.files

    @property
    def uploads(self) -> int:
        """How often a file was sent."""
        return self.requests.count(("POST", "/v1/files"))

    def server(self, key: str = "") -> Server:
        args = AppArgs(library=LibraryArgs(upload_bytes=UPLOAD_BYTES))
        inner = httpx.ASGITransport(create_app(lambda: self.service, args))
        http = httpx.AsyncClient(transport=_Transport(self, inner), base_url="http://localhost:8000")
        return Server(http, sleep=self.sleep, jitter=lambda: 1.0)

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.on_sleep()

    def process(self, **fields: object) -> None:
        """Everything that waits becomes searchable, or whatever `fields` say."""
        for file_id, record in list(self.files.records.items()):
            if record.status in (FileStatus.UPLOADED, FileStatus.PROCESSING):
                self.files.change(file_id, **({"status": FileStatus.PROCESSED} | fields))


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, world: World, inner: httpx.AsyncBaseTransport) -> None:
        self._world = world
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()  # what goes wrong with the body does so here, not in the app
        answer = self._world.before(request)
        if answer is not None:
            return answer
        self._world.requests.append((request.method, request.url.path))
        response = await self._inner.handle_async_request(request)
        return self._world.after(request) or response


def error(status: int, message: str = "No.", **headers: str) -> httpx.Response:
    body = {"error": {"message": message, "type": "x", "param": None, "code": "x"}}
    return httpx.Response(status, content=json.dumps(body), headers=headers)


def first(count: int, answer: Callable[[], httpx.Response], path: str = "/v1/files") -> Answer:
    """Gives this answer to so many POSTs, and then none."""
    left = count

    def give(request: httpx.Request) -> httpx.Response | None:
        nonlocal left
        if request.method != "POST" or request.url.path != path or not left:
            return None
        left -= 1
        return answer()

    return give
