"""How long a request may take, and what becomes of it when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from typing import TypeVar

from multimodal.config import AppArgs
from multimodal.errors import DeadlineExceeded
from multimodal.types import MediaKind, MediaSource, RequestContext

T = TypeVar("T")

SPEECH_BYTES_PER_S = 4000
"""32 kbit/s: below what speech is usually compressed to, so the estimate of its length is an upper one."""


SCANNED_PAGE_S = 2.0
"""Reader's time for a page on two cores, about."""


def allowing(ctx: RequestContext, sources: Iterable[MediaSource], args: AppArgs) -> RequestContext:
    """With more time for sound, video and scanned pages, by an upper estimate of how much there is."""
    media_s = sum(_at_most_s(source, args) for source in sources)
    return replace(ctx, deadline_s=ctx.deadline_s + args.deadline.per_media_s * media_s)


def _at_most_s(source: MediaSource, args: AppArgs) -> float:
    limits = args.limits if source.stored is None else args.library.limits
    longest_s = {
        MediaKind.IMAGE: 0.0,
        MediaKind.AUDIO: limits.audio_s,
        MediaKind.VIDEO: limits.video_s,
        MediaKind.DOCUMENT: args.loader.max_page_images * SCANNED_PAGE_S,
    }
    return min(longest_s[source.kind], source.size_bytes / SPEECH_BYTES_PER_S)


def late() -> DeadlineExceeded:
    """The error for a request whose time is over."""
    return DeadlineExceeded("The request was not finished in time. Send fewer or shorter media.")


async def within(ctx: RequestContext, work: Awaitable[T]) -> T:
    """The result, if it comes before the deadline. Raises DeadlineExceeded."""
    try:
        async with asyncio.timeout(ctx.remaining_s()):
            return await work
    except TimeoutError:
        raise late() from None
