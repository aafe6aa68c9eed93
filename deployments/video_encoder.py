"""VideoEncoder: sight and sound of a video on one time line, through the other encoders."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from deployments.calls import Call, Handle
from deployments.graph import AudioCalls
from deployments.lanes import Few, in_background
from deployments.replica import ReportsMetrics, count_batch, refuse_if_late
from deployments.sharing import Shared
from multimodal.config import AppArgs
from multimodal.encode_once import EncodeOnce
from multimodal.encoders.video import understand
from multimodal.hearing import hear, transcript_of
from multimodal.identity import FeatureKey
from multimodal.library.background import PatientEars
from multimodal.types import (
    Audio,
    Image,
    ImageFeatures,
    ImageText,
    MediaKind,
    RequestContext,
    SpeechHints,
    Transcript,
    Video,
    VideoFeatures,
)


class VideoEncoder(ReportsMetrics):
    """Sends each scene to ImageEncoder and Reader and the sound track to AudioEncoder, all at once."""

    def __init__(
        self,
        args: AppArgs,
        image_encoder: Handle,
        reader: Handle,
        audio_encoder: Handle,
        make_once: Callable[[AppArgs], EncodeOnce],
    ) -> None:
        self._args = args.video
        self._encode_image = Call[ImageFeatures](image_encoder, "encode", args.image.timeout_s)
        self._read = Call[ImageText](reader, "read", args.reader.timeout_s)
        self._ears = AudioCalls(audio_encoder, args)
        self._part_windows = args.audio.part_windows
        self._few = Few()
        self._shared = Shared(args.cache)
        self._once = make_once(args)

    async def watch(
        self, ctx: RequestContext, video: Video, hints: SpeechHints, key: FeatureKey | None = None
    ) -> VideoFeatures:
        """What is seen and heard in a video; `hints` are on its speech."""
        refuse_if_late(ctx)
        return await self._shared(ctx, key, VideoFeatures, partial(self._watch, ctx, video, hints))

    async def _watch(self, ctx: RequestContext, video: Video, hints: SpeechHints) -> VideoFeatures:
        count_batch(self, MediaKind.VIDEO, 1)
        return await understand(
            ctx,
            video,
            encode_image=self._on_image,
            read=self._on_text,
            transcribe=partial(self._on_sound, hints),
            scene_difference=self._args.scene_difference,
        )

    async def _on_image(self, ctx: RequestContext, frame: Image) -> ImageFeatures:
        async with self._few(ctx):
            return await self._encode_image(ctx, frame)

    async def _on_text(self, ctx: RequestContext, frame: Image) -> ImageText:
        async with self._few(ctx):
            return await self._read(ctx, frame)

    async def _on_sound(self, hints: SpeechHints, ctx: RequestContext, audio: Audio) -> Transcript:
        ears = PatientEars(self._ears) if in_background(ctx) else self._ears

        async def listen(key: FeatureKey) -> Transcript:
            return await transcript_of(hear(ears, ctx, audio, hints, self._part_windows, key))

        # However its frames are sampled, a video sounds the same.
        return await self._once.speech(ctx, audio.sha256, hints, listen)
