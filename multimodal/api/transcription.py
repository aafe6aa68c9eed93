"""POST /v1/audio/transcriptions, as OpenAI has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request, Response

from multimodal.api.analysis import collect, language_of
from multimodal.api.audio_schemas import (
    TranscriptDeltaEvent,
    TranscriptDoneEvent,
    Transcription,
    TranscriptionRequest,
    TranscriptionVerbose,
)
from multimodal.api.catalogue import TRANSCRIPTIONS, Catalogue
from multimodal.api.errors import UnsupportedParameter
from multimodal.api.event_stream import EventStream
from multimodal.api.exchange import Exchange, exchange_of
from multimodal.api.form import FILE
from multimodal.api.openapi import TRANSCRIPTION_EXAMPLES, bodies, error_responses, stream_content
from multimodal.api.record import Record
from multimodal.api.sse import DONE, data_event
from multimodal.api.surface import Surface
from multimodal.api.transcript_format import as_verbose, as_written, content_type, usage_of
from multimodal.api.upload import Uploaded, read_form, require_file
from multimodal.errors import InvalidRequest, MultimodalError
from multimodal.types import (
    AnalysisEvent,
    AnalysisRequest,
    MediaKind,
    MediaSource,
    SpeechHints,
    Transcript,
    TranscriptPart,
)

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
STREAMED = ("json", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionCall:
    """A checked request, and how its answer is wanted."""

    request: AnalysisRequest
    format: Format
    granularities: tuple[str, ...]
    stream: bool

    @classmethod
    def of(
        cls, body: TranscriptionRequest, uploaded: Uploaded | None, catalogue: Catalogue
    ) -> TranscriptionCall:
        """Raises ModelNotFound, UnsupportedParameter and InvalidRequest."""
        catalogue.find(body.model, TRANSCRIPTIONS)
        file = require_file(uploaded)
        _refuse_unsupported(body)
        hints = SpeechHints(
            language=language_of(body.language),
            prompt=body.prompt or "",
            temperature=body.temperature or 0.0,
        )
        source = MediaSource(
            kind=MediaKind.AUDIO, data=file.data, param=FILE, declared_type=file.declared_type
        )
        return cls(
            request=AnalysisRequest(source=source, hints=hints),
            format=_format(body),
            granularities=tuple(body.timestamp_granularities or ["segment"]),
            stream=bool(body.stream),
        )


def transcriptions_router(surface: Surface) -> APIRouter:
    """The endpoint over a surface."""
    router = APIRouter(tags=["audio"])

    @router.post(
        TRANSCRIPTIONS,
        summary="Transcribe a recording",
        response_model=Transcription | TranscriptionVerbose,
        responses={
            200: {
                "content": {
                    "text/plain": {"schema": {"type": "string"}},
                    "text/vtt": {"schema": {"type": "string"}},
                    **stream_content(TranscriptDeltaEvent, TranscriptDoneEvent),
                }
            },
            **error_responses(),
        },
        openapi_extra=bodies(form=TranscriptionRequest, form_examples=TRANSCRIPTION_EXAMPLES),
    )
    async def transcriptions(request: Request) -> Response:
        call = await read_form(
            request,
            TranscriptionRequest,
            lambda body, uploaded: TranscriptionCall.of(body, uploaded, surface.catalogue),
            limit_bytes=surface.args.limits.audio_bytes,
        )
        if call.stream:
            exchange = exchange_of(request.scope)
            events = surface.service().analyze(surface.context(exchange), call.request)
            record = Record(exchange, metrics=surface.metrics, timer=surface.timer)
            return TranscriptionStream(events, exchange, record)
        outcome = await collect(surface, request, call.request, Transcript)
        # Half an hour of speech has thousands of words.
        return await asyncio.to_thread(_response, call, outcome.features)

    return router


class TranscriptionStream(EventStream[AnalysisEvent]):
    """OpenAI's events: the text as it grows, then the whole. All deltas together are that text."""

    def __init__(
        self, events: AsyncGenerator[AnalysisEvent, None], exchange: Exchange, record: Record
    ) -> None:
        super().__init__(events, exchange)
        self._record = record
        self._begun = False
        self._whole = False

    def _format(self, event: AnalysisEvent) -> bytes:
        self._record.see(event)
        if isinstance(event, TranscriptPart) and event.segments:
            text = " ".join(segment.text.strip() for segment in event.segments)
            delta = f" {text}" if self._begun else text
            self._begun = True
            return data_event({"type": "transcript.text.delta", "delta": delta})
        if isinstance(event, Transcript):
            self._whole = True
            return data_event({"type": "transcript.text.done", "text": event.text})
        return b""

    def _ending(self) -> Iterator[bytes]:
        if not self._whole:
            raise MultimodalError("The transcript ended before it was whole. Try again.")
        yield DONE


def _response(call: TranscriptionCall, transcript: Transcript) -> Response:
    if call.format == "json":
        short = Transcription(text=transcript.text, usage=usage_of(transcript))
        return Response(short.model_dump_json(), media_type="application/json")
    if call.format == "verbose_json":
        verbose = as_verbose(transcript, call.granularities)
        return Response(verbose.model_dump_json(exclude_unset=True), media_type="application/json")
    return Response(as_written(transcript, call.format), headers={"content-type": content_type(call.format)})


def _format(body: TranscriptionRequest) -> Format:
    """The format, if it goes together with the other fields."""
    name = body.response_format or "json"
    if name == "diarized_json":
        raise UnsupportedParameter(
            "diarized_json is not supported: speakers are not told apart. Use verbose_json.",
            param="response_format",
        )
    if body.stream and name not in STREAMED:
        raise InvalidRequest("stream needs the response_format json or text.", param="stream")
    if body.timestamp_granularities and name != "verbose_json":
        raise InvalidRequest(
            "timestamp_granularities needs the response_format verbose_json.",
            param="timestamp_granularities",
        )
    return name


def _refuse_unsupported(body: TranscriptionRequest) -> None:
    """Refuse what cannot be honoured and would give a wrong answer if it were ignored."""
    advice = {
        "include": "",
        "languages": " Send one language, or leave it out.",
        "keywords": " Put the words into prompt.",
        "known_speaker_names": " Speakers are not told apart.",
        "known_speaker_references": " Speakers are not told apart.",
    }
    for param, instead in advice.items():
        if getattr(body, param):
            raise UnsupportedParameter(f"{param} is not supported.{instead or ' Leave it out.'}", param=param)
    if body.chunking_strategy not in (None, "auto", {"type": "server_vad"}):
        raise UnsupportedParameter(
            "Recordings are always cut by voice activity. Send auto, or leave it out.",
            param="chunking_strategy",
        )
