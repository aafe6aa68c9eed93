"""Pictures on their way: a small one by value, a large one by reference.

How large a picture is shows only when it is decoded. So one whose encoded bytes are few is asked for by
value, and where it turns out to be large MediaLoader keeps it until it is asked for by reference.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from typing import TypeAlias, TypeVar

from deployments.calls import BY_VALUE_BYTES, Pending
from multimodal.errors import LostMedia, StageUnavailable
from multimodal.identity import FeatureKey
from multimodal.types import Image, Media, MediaKind, MediaSource, Ready

T = TypeVar("T")

ENCODED_BYTES = BY_VALUE_BYTES // 4
"""Of a picture that may be small when it is decoded."""

KEPT, KEPT_S = 8, 10.0
"""Large pictures: each is up to some tens of MB, and is asked for again at once."""

Arrived: TypeAlias = "Ready[Media] | Pending[Media]"


def may_be_small(source: MediaSource) -> bool:
    """Whether it is worth asking for by value."""
    return source.kind is MediaKind.IMAGE and source.size_bytes <= ENCODED_BYTES


def is_small(media: Media) -> bool:
    """Whether it goes by value."""
    return isinstance(media, Image) and media.pixels.nbytes <= BY_VALUE_BYTES


class LargeOnes:
    """Those that were asked for by value, and will be by reference at once: the last few."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Media] = OrderedDict()

    def put(self, key: FeatureKey, media: Media) -> None:
        """Keep it until it is taken, or others have come."""
        self._kept[key.digest] = media
        asyncio.get_running_loop().call_later(KEPT_S, self._kept.pop, key.digest, None)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def take(self, key: FeatureKey) -> Media | None:
        """Once."""
        return self._kept.pop(key.digest, None)


class Picture(Awaitable[Media]):
    """One that was asked for by value. May be awaited, and handed on with `hand_on`."""

    def __init__(self, small: Pending[Media | None], load: Callable[[], Pending[Media]]) -> None:
        self._small, self._load = small, load
        self._arrival = asyncio.ensure_future(self._arrive())
        self._arrival.add_done_callback(_see_error)

    async def _arrive(self) -> Arrived:
        try:
            media = await self._small
        except StageUnavailable as error:  # as by reference, where whoever it was handed to would say so
            raise LostMedia(error.message, retry_after_s=error.retry_after_s) from None
        return Ready(media) if media is not None else self._load()

    def __await__(self) -> Generator[object, None, Media]:
        return self._value().__await__()

    async def _value(self) -> Media:
        return await (await self.arrived())

    async def arrived(self) -> Arrived:
        """How it goes on from here. Raises what loading it raises."""
        return await asyncio.shield(self._arrival)

    def abandon(self) -> None:
        """Nobody wants it any more."""
        if not self._arrival.done():
            self._arrival.cancel()
        elif not self._arrival.cancelled() and self._arrival.exception() is None:
            arrived = self._arrival.result()
            if isinstance(arrived, Pending):
                arrived.abandon()

    def now(self) -> Arrived:
        """Once it has arrived. Raises what loading it raises."""
        return self._arrival.result()


def hand_on(picture: Awaitable[Media], call: Callable[[object], Pending[T]]) -> Awaitable[T]:
    """The result of a call with this picture, whichever way it goes."""
    if not isinstance(picture, Picture):
        return call(picture)
    return _handed_on(picture, call)


async def _handed_on(picture: Picture, call: Callable[[object], Pending[T]]) -> T:
    return await call(await picture.arrived())


def _see_error(arrival: asyncio.Future[Arrived]) -> None:
    """Whoever waits raises it; where nobody does any more, nobody misses it."""
    if not arrival.cancelled():
        arrival.exception()
