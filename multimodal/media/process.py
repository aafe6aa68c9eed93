"""One decoder process as the pool sees it: start it, exchange messages with it, kill it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import multimodal
from multimodal.media import payload, wire
from multimodal.types import Media, MediaSource

WORKER_COMMAND = (sys.executable, "-P", "-m", "multimodal.media.worker")
"""-P: whatever lies in the working directory is not importable."""

_log = logging.getLogger(__name__)


class WorkerGone(Exception):
    """The process ended, or (misbehaved) said something that no worker says and was killed."""

    def __init__(self, reason: str, *, misbehaved: bool) -> None:
        super().__init__(reason)
        self.misbehaved = misbehaved


class WorkerProcess:
    """A worker and the socket to it. For use on one event loop, one request at a time.

    Starts at once and without waiting: the first request waits until the worker has imported its decoders.
    The worker dies with the *thread* that makes this object (see `worker.die_with`): make it on the thread
    of the event loop, not on one of a pool.
    """

    def __init__(self, setup: wire.SetupHeader, command: Sequence[str] = WORKER_COMMAND) -> None:
        self._setup = setup
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs, ExitStack() as on_failure:
            on_failure.callback(self._socket.close)
            self._process = subprocess.Popen(
                [*command, str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
            )
            on_failure.pop_all()
        self._ready = False
        self._usable = True

    @property
    def pid(self) -> int:
        """Process id."""
        return int(self._process.pid)

    @property
    def usable(self) -> bool:
        """Whether the next request can go to this worker: it lives, and no message is half-way."""
        return self._usable and self._process.poll() is None

    async def ready(self) -> None:
        """Return when the worker has started. Interrupted, it leaves the worker unusable.

        Raises WorkerGone where it cannot start.
        """
        if not self._ready:
            with self._watched():
                await self._send(wire.frame_header(self._setup))
                if not isinstance(await self._reply(), wire.ReadyReply):
                    raise ValueError("a worker did not begin with ready")
            self._ready = True

    async def decode(self, source: MediaSource, sha256: str, on_duration: Callable[[float], None]) -> Media:
        """Have one medium decoded by a worker that is ready. Interrupted, it leaves the worker unusable.

        Args:
            source: the encoded medium.
            sha256: its digest. The worker's word is not taken for it, since caches are keyed by it.
            on_duration: is told the seconds of a recording or a video before it is decoded.

        Raises:
            MultimodalError: what the worker reports.
            WorkerGone: it died, or broke the protocol.
        """
        with self._watched():
            await self._send(_request(source, sha256), source.data)
            reply = await self._reply()
            while isinstance(reply, wire.DurationReply):
                on_duration(reply.seconds)
                reply = await self._reply()
            if isinstance(reply, wire.ReadyReply):
                raise ValueError("a worker said ready twice")
            if isinstance(reply, wire.ErrorReply):
                error = wire.rebuild_error(reply)
            else:
                return await self._media(reply, source, sha256)
        self._usable = not reply.last
        if reply.detail:
            _log.error("a decoder failed:\n%s", reply.detail)
        raise error

    def kill(self) -> None:
        """End the process, whatever it does; then `reap` it. A request in flight fails with WorkerGone."""
        self._usable = False
        self._process.kill()

    def reap(self) -> int:
        """Block until the process has ended, close the socket. Not while a request is in flight.

        Returns the exit status; negative: the signal that ended the process.
        """
        status = self._process.wait()
        self._socket.close()
        return status

    async def _media(self, reply: wire.MediaReply, source: MediaSource, sha256: str) -> Media:
        limits = self._setup.limits_of(source.stored is not None)
        arrays = payload.allocate(reply, source.kind, limits, self._setup.args)
        for array in arrays:
            await self._receive(memoryview(array.data).cast("B"))
        return payload.build_media(reply, arrays, sha256)

    async def _reply(self) -> wire.Reply:
        length = bytearray(wire.LENGTH.size)
        await self._receive(memoryview(length))
        (size,) = wire.LENGTH.unpack(length)
        if size > wire.HEADER_MAX_BYTES:
            raise ValueError("a worker sent too long a header")
        body = bytearray(size)
        await self._receive(memoryview(body))
        return wire.parse_reply(bytes(body))

    async def _send(self, *parts: bytes) -> None:
        loop = asyncio.get_running_loop()
        for part in parts:
            await loop.sock_sendall(self._socket, part)

    async def _receive(self, view: memoryview) -> None:
        loop = asyncio.get_running_loop()
        while view:
            received = await loop.sock_recv_into(self._socket, view)
            if not received:
                raise EOFError
            view = view[received:]

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Usable again only when the block ends well; what goes wrong with the worker is WorkerGone."""
        self._usable = False
        try:
            yield
        except (ConnectionError, EOFError) as error:
            raise WorkerGone("it ended", misbehaved=False) from error
        except ValueError as error:
            # Whatever speaks there is no decoder of ours any more.
            self._process.kill()
            raise WorkerGone(f"it broke the protocol: {error}", misbehaved=True) from error
        self._usable = True


def _request(source: MediaSource, sha256: str) -> bytes:
    return wire.frame_header(
        wire.RequestHeader(
            kind=source.kind,
            param=source.param,
            frame_sampling=source.frame_sampling,
            max_frames=source.max_frames,
            first_page=source.first_page,
            filename=source.filename,
            stored=source.stored is not None,
            sha256=sha256,
            data_bytes=len(source.data),
        )
    )


def _environment() -> dict[str, str]:
    """All that a worker needs, and nothing that a stranger in it could use.

    One thread in numeric libraries and few malloc arenas: both would eat address space, which is limited.
    """
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(multimodal.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
