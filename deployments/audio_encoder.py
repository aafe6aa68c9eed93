"""AudioEncoder: speech to text with times."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from deployments.batching import batched
from deployments.lanes import Lane
from deployments.replica import ReportsMetrics, count_batch, give_way_to_text, refuse_if_late
from multimodal.cache.flights import Flights
from multimodal.config import AppArgs
from multimodal.encoders.speech import window_of
from multimodal.hearing import join
from multimodal.identity import FeatureKey
from multimodal.stages import AudioBackend
from multimodal.types import (
    Audio,
    MediaKind,
    RequestContext,
    Spans,
    SpeechHints,
    SpeechPlan,
    SpeechWindow,
    Transcript,
)


class AudioEncoder(ReportsMetrics):
    """Cuts recordings into windows of speech and transcribes those of all requests together.

    Whisper pads every window to 30 s, so windows cost the same and batches are counted in windows.
    """

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], AudioBackend]) -> None:
        give_way_to_text(args)
        self._backend = make(args)
        self._part_windows = args.audio.part_windows
        self._lane = Lane()
        self._flights = Flights()
        self._transcribe = batched(
            self._transcribe_batch, size=args.audio.batch_windows, wait_s=args.audio.batch_wait_s
        )

    async def transcribe(
        self, ctx: RequestContext, audio: Audio, hints: SpeechHints, key: FeatureKey | None = None
    ) -> Transcript | SpeechPlan:
        """The transcript of a short recording, empty where nobody speaks; where speech is in a long one."""
        refuse_if_late(ctx)
        work = partial(self._hear, ctx, audio, hints)
        return await (self._flights.join(ctx, key, work) if key else work())

    async def _hear(self, ctx: RequestContext, audio: Audio, hints: SpeechHints) -> Transcript | SpeechPlan:
        async with self._lane(ctx):
            plan = await asyncio.to_thread(self._backend.plan, audio, hints)
        if len(plan.windows) > self._part_windows:
            return plan
        return join(plan, await self._transcribe_all(ctx, audio, plan.windows, hints))

    async def transcribe_part(
        self,
        ctx: RequestContext,
        audio: Audio,
        windows: Sequence[Spans],
        hints: SpeechHints,
        key: FeatureKey | None = None,
    ) -> Transcript:
        """The transcript of some windows of a long recording."""
        refuse_if_late(ctx)
        work = partial(self._hear_part, ctx, audio, windows, hints)
        if key is None:
            return await work()
        of_part = replace(key, digest=f"{key.digest} {windows[0][0][0]}")
        return await self._flights.join(ctx, of_part, work)

    async def _hear_part(
        self, ctx: RequestContext, audio: Audio, windows: Sequence[Spans], hints: SpeechHints
    ) -> Transcript:
        plan = SpeechPlan(windows=tuple(windows), language="", duration_s=audio.duration_s)
        return join(plan, await self._transcribe_all(ctx, audio, windows, hints))

    async def _transcribe_all(
        self, ctx: RequestContext, audio: Audio, windows: Sequence[Spans], hints: SpeechHints
    ) -> list[Transcript]:
        return await asyncio.gather(*(self._transcribe_one(ctx, audio, spans, hints) for spans in windows))

    async def _transcribe_one(
        self, ctx: RequestContext, audio: Audio, spans: Spans, hints: SpeechHints
    ) -> Transcript:
        """Windows take seconds: in the background each waits for its own turn."""
        async with self._lane(ctx):
            return await self._transcribe(window_of(audio, spans, hints))

    async def _transcribe_batch(self, batch: list[SpeechWindow]) -> list[Transcript]:
        count_batch(self, MediaKind.AUDIO, len(batch))
        return await asyncio.to_thread(self._backend.transcribe, batch)
