"""Work that nobody waits for: how urgent it is, and how little of it is under way at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from multimodal.identity import FeatureKey
from multimodal.stages import Ears, Sound
from multimodal.types import Deferred, RequestContext, Spans, SpeechHints, SpeechPlan, Transcript

PRIORITY = 10
"""Of background work. Live requests have 0, and smaller is served first."""

PARTS_UNDER_WAY = 2
"""Parts of a long recording that AudioEncoder has at the same time: one in work, one ready to follow."""


def _ignore(share: float) -> None:
    """Nobody asked."""


class PatientEars:
    """AudioEncoder for one recording in the background. Implements `multimodal.stages.Ears`.

    A long recording has dozens of parts. Few of them are with AudioEncoder at a time: more would fill its
    queue, and wait in it for longer than a call may take. `on_progress` is told which share is done.
    """

    def __init__(self, ears: Ears, on_progress: Callable[[float], None] = _ignore) -> None:
        self._ears = ears
        self._on_progress = on_progress
        self._places = asyncio.Semaphore(PARTS_UNDER_WAY)
        self._windows = 0
        self._done = 0

    def transcribe(
        self, ctx: RequestContext, audio: Sound, hints: SpeechHints, key: FeatureKey | None = None
    ) -> Deferred[Transcript | SpeechPlan]:
        return self._transcribe(ctx, audio, hints, key)

    def transcribe_part(
        self,
        ctx: RequestContext,
        audio: Sound,
        windows: Sequence[Spans],
        hints: SpeechHints,
        key: FeatureKey | None = None,
    ) -> Deferred[Transcript]:
        return self._transcribe_part(ctx, audio, windows, hints, key)

    def abandon(self, *results: Deferred[object]) -> None:
        """Parts are coroutines here: who awaits them cancels them, and that abandons the calls."""
        self._ears.abandon(*results)

    async def _transcribe(
        self, ctx: RequestContext, audio: Sound, hints: SpeechHints, key: FeatureKey | None
    ) -> Transcript | SpeechPlan:
        found = await self._ears.transcribe(ctx, audio, hints, key)
        if isinstance(found, SpeechPlan):
            self._windows = len(found.windows)
        return found

    async def _transcribe_part(
        self,
        ctx: RequestContext,
        audio: Sound,
        windows: Sequence[Spans],
        hints: SpeechHints,
        key: FeatureKey | None,
    ) -> Transcript:
        async with self._places:
            part = await self._ears.transcribe_part(ctx, audio, windows, hints, key)
        self._done += len(windows)
        self._on_progress(self._done / max(self._windows, self._done))
        return part
