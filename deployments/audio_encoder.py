"""AudioEncoder: speech to text with times."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deployments.batching import batched
from deployments.replica import ReportsMetrics, count_batch, refuse_if_late
from multimodal.config import AppArgs
from multimodal.stages import AudioBackend
from multimodal.types import Audio, MediaKind, RequestContext, SpeechWindow, Transcript


class AudioEncoder(ReportsMetrics):
    """Cuts recordings into windows of speech and transcribes those of all requests together.

    Whisper pads every window to 30 s, so windows cost the same and batches are counted in windows.
    """

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], AudioBackend]) -> None:
        self._backend = make(args)
        self._transcribe = batched(
            self._transcribe_batch, size=args.audio.batch_windows, wait_s=args.audio.batch_wait_s
        )

    async def transcribe(self, ctx: RequestContext, audio: Audio) -> Transcript:
        """The transcript of one recording; empty where nobody speaks."""
        refuse_if_late(ctx)
        windows = await asyncio.to_thread(self._backend.cut, audio)
        parts = await asyncio.gather(*map(self._transcribe, windows))
        return self._backend.join(audio, parts)

    async def _transcribe_batch(self, batch: list[SpeechWindow]) -> list[Transcript]:
        count_batch(self, MediaKind.AUDIO, len(batch))
        return await asyncio.to_thread(self._backend.transcribe, batch)
