"""A recording through AudioEncoder: short ones in one call, long ones shared out among its replicas.

The sound itself stays where it was decoded: replicas are sent a reference and the times of the windows that
they shall transcribe.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

from multimodal.errors import MultimodalError
from multimodal.identity import FeatureKey
from multimodal.stages import Ears, Sound
from multimodal.types import (
    RequestContext,
    SpeechHints,
    SpeechPlan,
    Transcript,
    TranscriptPart,
)


async def hear(
    ears: Ears,
    ctx: RequestContext,
    audio: Sound,
    hints: SpeechHints,
    part_windows: int,
    key: FeatureKey | None = None,
) -> AsyncGenerator[TranscriptPart | Transcript, None]:
    """Parts of the transcript in time order, then the whole.

    All parts are in work at once, `part_windows` windows in each. Closing the iterator stops them. Calls with
    the same key are shared by all who hear the same recording.
    """
    found = await ears.transcribe(ctx, audio, hints, key)
    if isinstance(found, Transcript):
        yield TranscriptPart(segments=found.segments)
        yield found
        return
    starts = range(0, len(found.windows), part_windows)
    calls = [
        ears.transcribe_part(ctx, audio, found.windows[start : start + part_windows], hints, key)
        for start in starts
    ]
    tasks = [asyncio.ensure_future(call) for call in calls]
    parts: list[Transcript] = []
    try:
        for task in tasks:
            parts.append(await _unless_another_fails(task, tasks))
            yield TranscriptPart(segments=parts[-1].segments)
    finally:
        ears.abandon(*(call for call, task in zip(calls, tasks, strict=True) if not task.done()))
        for task in tasks:
            task.cancel()
    yield join(found, parts)


async def _unless_another_fails(
    wanted: asyncio.Future[Transcript], tasks: Sequence[asyncio.Future[Transcript]]
) -> Transcript:
    """The result of one of the tasks. Raises the error of any of them as soon as it is there."""
    while not wanted.done():
        running = [task for task in tasks if not task.done()]
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    return wanted.result()


async def transcript_of(
    parts: AsyncGenerator[TranscriptPart | Transcript, None],
    on_part: Callable[[int, TranscriptPart], None] = lambda number, part: None,
) -> Transcript:
    """The whole transcript; `on_part` is told of each part, counted from 0, as it comes."""
    number = 0
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, Transcript):
                return part
            on_part(number, part)
            number += 1
    raise MultimodalError("A transcript ended before it was whole. Try again.")


def join(plan: SpeechPlan, parts: Sequence[Transcript]) -> Transcript:
    """One transcript from those of the windows of a plan, in any order.

    The language is the one that most of the speech is in.
    """
    segments = {segment for part in parts for segment in part.segments}
    return Transcript(
        segments=tuple(sorted(segments, key=lambda segment: (segment.start_s, segment.end_s))),
        language=_language(parts) if segments else plan.language,
        duration_s=plan.duration_s,
    )


def _language(parts: Iterable[Transcript]) -> str:
    heard_s: dict[str, float] = {}
    for part in parts:
        spoken_s = sum(segment.end_s - segment.start_s for segment in part.segments)
        heard_s[part.language] = heard_s.get(part.language, 0.0) + spoken_s
    return max(heard_s, key=lambda name: heard_s[name])
