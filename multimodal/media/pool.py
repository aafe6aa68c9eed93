"""DecoderPool: media are decoded in processes that can be killed.

A worker that passes its deadline, crashes, or whose caller goes away is killed and replaced; the requests of
other workers do not notice. A request costs one worker at most.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from multimodal.config import Limits, LoaderArgs, StoredLimits
from multimodal.errors import DeadlineExceeded, InvalidMedia, MultimodalError, StageUnavailable
from multimodal.identity import sha256_of
from multimodal.media.limits import check_bytes, limits_of_stored
from multimodal.media.process import WORKER_COMMAND, WorkerGone, WorkerProcess
from multimodal.media.wire import SetupHeader
from multimodal.types import Media, MediaKind, MediaSource, RequestContext

_log = logging.getLogger(__name__)

_START_TIMEOUT_S = 60.0
"""How long a worker may take to import its decoders: half a second, unless the machine is starting up."""

_STOPPED_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
"""Exit statuses of a worker that somebody else ended: the kernel for lack of memory, or an operator."""


class DecoderPool:
    """Implements `stages.LoaderBackend`. For use on one event loop.

    Args:
        limits: what a medium may cost; also what is believed of a worker's answer.
        args: number of workers, their memory and their time.
        stored: what an uploaded file may cost, instead of `limits`.
        command: starts a worker; tests put their own here.
    """

    def __init__(
        self,
        limits: Limits,
        args: LoaderArgs,
        *,
        stored: StoredLimits | None = None,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        of_stored = limits_of_stored(limits, stored or StoredLimits())
        self._setup = SetupHeader(limits=limits, stored_limits=of_stored, args=args)
        self._args, self._command = args, command
        self._free = asyncio.Semaphore(args.workers)
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._ending: set[asyncio.Future[int]] = set()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in (*self._idle, *self._busy)]

    def start(self) -> None:
        """Start all workers now instead of with the first request. Does not wait until they are ready."""
        missing = self._args.workers - len(self.pids)
        self._idle += [self._spawn() for _ in range(missing)]

    def check_health(self) -> None:
        """Raises StageUnavailable when the pool has no workers and none can be started."""
        if not self.pids:
            self.start()

    def check(self, source: MediaSource) -> None:
        """Raises MediaTooLarge where a medium has too many bytes, which need not be at hand yet."""
        check_bytes(source.size_bytes, source.kind, self._limits_of(source), source.param)

    async def load(self, ctx: RequestContext, source: MediaSource) -> Media:
        """Decode one medium, whose bytes are at hand.

        Raises:
            InvalidMedia: damaged, cut short, not of the part's kind, or a decoder crashed on it; or not the
                bytes that were stored.
            UnsupportedMedia: of a format or a codec without a decoder.
            MediaTooLarge: more bytes, pixels, seconds, pages or memory than allowed.
            InvalidRequest: more frames asked for than allowed, or a page that there is not.
            DeadlineExceeded: no worker became free, or decoding was not done in time.
            StageUnavailable: the pool closes, or its workers cannot run.
        """
        self.check(source)
        until_s = asyncio.get_running_loop().time() + ctx.remaining_s()
        sha256 = source.sha256
        if sha256 is None:
            # Of an uploaded file this also tells whether its bytes are still those that were stored.
            sha256 = await asyncio.to_thread(sha256_of, source.data)
        if source.stored is not None and source.stored.sha256 != sha256:
            raise InvalidMedia(
                "The stored bytes of this file are damaged. Upload it again.", param=source.param
            )
        async with self._worker(until_s, source.param) as worker:
            await self._ready(worker, until_s, source.param)
            try:
                return await self._decode(worker, source, sha256, until_s)
            except WorkerGone as gone:
                raise await self._explained(worker, gone, source.param) from gone

    async def close(self) -> None:
        """Kill every worker and wait until they are gone. Requests in flight fail with StageUnavailable."""
        if self._closed:
            return
        self._closed = True
        for worker in self._busy:
            worker.kill()
        for worker in self._idle:
            self._end(worker)
        self._idle.clear()
        for _ in range(self._args.workers):
            await self._free.acquire()
        await asyncio.gather(*self._ending)
        for _ in range(self._args.workers):
            self._free.release()

    @asynccontextmanager
    async def _worker(self, until_s: float, param: str) -> AsyncIterator[WorkerProcess]:
        """A worker for one request; afterwards it is idle again, or replaced where it is of no more use."""
        try:
            async with asyncio.timeout_at(until_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise DeadlineExceeded(
                "All decoders were busy until the deadline of this request. Try again later.", param=param
            ) from error
        try:
            worker = self._take()
            try:
                yield worker
            finally:
                self._give_back(worker)
        finally:
            self._free.release()

    async def _ready(self, worker: WorkerProcess, until_s: float, param: str) -> None:
        """Wait until a worker has started."""
        start_until_s = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        try:
            async with asyncio.timeout_at(min(until_s, start_until_s)):
                await worker.ready()
        except TimeoutError as error:
            if until_s < start_until_s:
                raise _overdue(param) from error
            raise StageUnavailable("The decoders do not start.", retry_after_s=5) from error
        except WorkerGone as gone:
            if self._closed:
                raise _closing() from gone
            _log.error("a decoder process could not start: %s", gone)
            raise StageUnavailable("The decoders do not start.", retry_after_s=5) from gone

    async def _decode(self, worker: WorkerProcess, source: MediaSource, sha256: str, until_s: float) -> Media:
        """Decode, in a time that grows with the seconds of media and ends with the request's deadline."""
        began_s = asyncio.get_running_loop().time()
        limits = self._limits_of(source)
        limit_s = limits.audio_s if source.kind is MediaKind.AUDIO else limits.video_s
        allowed_s = self._args.decode_timeout_s

        def on_duration(seconds: float) -> None:
            nonlocal allowed_s
            extra_s = self._args.decode_timeout_s_per_media_s * min(seconds, limit_s)
            allowed_s = self._args.decode_timeout_s + extra_s
            clock.reschedule(min(until_s, began_s + allowed_s))

        try:
            async with asyncio.timeout_at(min(until_s, began_s + allowed_s)) as clock:
                return await worker.decode(source, sha256, on_duration)
        except TimeoutError as error:
            if until_s < began_s + allowed_s:
                raise _overdue(source.param) from error
            raise DeadlineExceeded(
                f"Decoding took longer than the {allowed_s:g} s allowed. Send a smaller or shorter one.",
                param=source.param,
            ) from error

    def _limits_of(self, source: MediaSource) -> Limits:
        return self._setup.limits_of(source.stored is not None)

    def _take(self) -> WorkerProcess:
        if self._closed:
            raise _closing()
        while self._idle:
            worker = self._idle.pop()
            if worker.usable:
                break
            self._end(worker)
        else:
            worker = self._spawn()
        self._busy.add(worker)
        return worker

    def _give_back(self, worker: WorkerProcess) -> None:
        self._busy.discard(worker)
        if worker.usable and not self._closed:
            self._idle.append(worker)
            return
        self._end(worker)
        if not self._closed:
            self._replace()

    def _replace(self) -> None:
        """Start another worker now, so that the next request need not wait for it; else that one will."""
        try:
            self._idle.append(self._spawn())
        except StageUnavailable as error:
            _log.error("a decoder cannot be replaced now: %s", error)

    def _spawn(self) -> WorkerProcess:
        try:
            return WorkerProcess(self._setup, self._command)
        except OSError as error:
            raise StageUnavailable("No decoder process can be started.", retry_after_s=5) from error

    def _end(self, worker: WorkerProcess) -> None:
        """Kill now, reap in the background."""
        worker.kill()
        reaped = asyncio.get_running_loop().run_in_executor(None, worker.reap)
        self._ending.add(reaped)
        reaped.add_done_callback(self._ending.discard)

    async def _explained(self, worker: WorkerProcess, gone: WorkerGone, param: str) -> MultimodalError:
        """Whose fault it is that a worker went away."""
        if self._closed:
            return _closing()
        status = await asyncio.to_thread(worker.reap)
        _log.warning("a decoder process is gone: %s, exit status %s", gone, status)
        if status in _STOPPED_FROM_OUTSIDE and not gone.misbehaved:
            return StageUnavailable("A decoder process was stopped. Try again.", param=param, retry_after_s=1)
        return InvalidMedia(
            "The decoder crashed on this part: it is damaged, or needs too much memory. Save it anew and "
            "send it again.",
            param=param,
        )


def _overdue(param: str) -> DeadlineExceeded:
    return DeadlineExceeded("Decoding was not done by the deadline of this request.", param=param)


def _closing() -> StageUnavailable:
    return StageUnavailable("The decoders are shutting down.", retry_after_s=5)
