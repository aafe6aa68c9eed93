"""Uploaded files: their bytes are read where they are decoded, so that they never travel with a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from multimodal.errors import DeadlineExceeded, FileUnknown
from multimodal.stages import LoaderBackend
from multimodal.types import Media, MediaSource, RequestContext, StoredContent

_AT_ONCE = 4
"""Files whose bytes are in memory at the same time, those that wait for a decoder included."""


class Decoders(LoaderBackend, Protocol):
    """DecoderPool."""

    def check(self, source: MediaSource) -> None:
        """Raises MediaTooLarge where a medium has too many bytes, which need not be at hand yet."""
        ...


class StoredLoader:
    """Implements `stages.LoaderBackend`. For use on one event loop.

    Args:
        backend: decodes what is at hand.
        read: the bytes of an uploaded file. Blocks. Raises FileNotFoundError or FileUnknown.
    """

    def __init__(self, backend: Decoders, read: Callable[[StoredContent], bytes]) -> None:
        self._backend, self._read = backend, read
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def load(self, ctx: RequestContext, source: MediaSource) -> Media:
        """Decode one medium. Raises what `DecoderPool.load` raises, and FileUnknown where a file is gone."""
        if source.stored is None:
            return await self._backend.load(ctx, source)
        self._backend.check(source)
        try:
            async with asyncio.timeout(ctx.remaining_s()):
                await self._free.acquire()
        except TimeoutError as error:
            raise DeadlineExceeded(
                "Other files were read until the deadline of this request. Try again later.",
                param=source.param,
            ) from error
        try:
            data = await self._bytes(ctx, source.stored, source.param)
            return await self._backend.load(ctx, replace(source, data=data))
        finally:
            self._free.release()

    def check_health(self) -> None:
        """Raises when no worker can be had."""
        self._backend.check_health()

    def start(self) -> None:
        """Start the workers."""
        self._backend.start()

    async def close(self) -> None:
        """End every worker."""
        await self._backend.close()

    async def _bytes(self, ctx: RequestContext, stored: StoredContent, param: str) -> bytes:
        try:
            async with asyncio.timeout(ctx.remaining_s()):
                return await asyncio.to_thread(self._read, stored)
        except TimeoutError as error:
            raise DeadlineExceeded(
                "The file could not be read by the deadline of this request. Try again later.", param=param
            ) from error
        except (FileNotFoundError, FileUnknown) as error:
            raise FileUnknown(
                "The bytes of this file are gone: it was deleted meanwhile. Upload it again.", param=param
            ) from error
