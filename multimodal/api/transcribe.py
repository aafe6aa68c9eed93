"""POST /v1/audio/transcribe: a transcript with times, and an answer to a question about the recording."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from multimodal.api.analysis import AnalysisCall, answer, collect, hints_of, question_of
from multimodal.api.analysis_schemas import ANALYSIS_EVENTS
from multimodal.api.audio_schemas import (
    AudioAnalysis,
    RecordingEvent,
    TranscribeOptions,
    TranscribeRequest,
    TranscribeUpload,
    TranscriptPartEvent,
)
from multimodal.api.body import read_body
from multimodal.api.catalogue import TRANSCRIBE
from multimodal.api.form import FILE
from multimodal.api.openapi import (
    TRANSCRIBE_EXAMPLES,
    TRANSCRIBE_FORM_EXAMPLES,
    bodies,
    error_responses,
    stream_content,
)
from multimodal.api.sampling import to_sampling
from multimodal.api.surface import Surface
from multimodal.api.transcript_format import as_part, as_recording, as_written, content_type
from multimodal.api.upload import Uploaded, is_form, read_form, require_file
from multimodal.errors import InvalidRequest
from multimodal.media.dataurl import parse_base64
from multimodal.types import AnalysisRequest, MediaKind, MediaSource, Transcript

INPUT_AUDIO = "input_audio"


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscribeCall:
    """A checked request, and the format of its answer."""

    analysis: AnalysisCall[Transcript]
    format: str


class TranscribeConverter:
    """Converts one request."""

    def __init__(self, surface: Surface) -> None:
        self._args = surface.args
        self._catalogue = surface.catalogue

    def of_json(self, body: TranscribeRequest) -> TranscribeCall:
        """Raises what `_call` raises, InvalidMedia and MediaTooLarge."""
        sound = body.input_audio
        data = parse_base64(
            sound.data, limit_bytes=self._args.limits.audio_bytes, param=f"{INPUT_AUDIO}.data"
        )
        return self._call(
            body,
            MediaSource(kind=MediaKind.AUDIO, data=data, param=INPUT_AUDIO, declared_type=sound.format),
        )

    def of_form(self, body: TranscribeUpload, uploaded: Uploaded | None) -> TranscribeCall:
        """Raises what `_call` raises, and InvalidRequest without a file."""
        file = require_file(uploaded)
        return self._call(
            body,
            MediaSource(kind=MediaKind.AUDIO, data=file.data, param=FILE, declared_type=file.declared_type),
        )

    def _call(self, body: TranscribeOptions, source: MediaSource) -> TranscribeCall:
        """Raises ModelNotFound and InvalidRequest."""
        model = self._catalogue.find(body.model or self._args.generator.served_name, TRANSCRIBE).id
        timestamps = body.include_timestamps is not False
        options = body.stream_options
        request = AnalysisRequest(
            source=source,
            hints=hints_of(body),
            question=question_of(body),
            sampling=to_sampling(body, self._args),
        )
        analysis = AnalysisCall(
            request=request,
            features=Transcript,
            describe=lambda transcript: as_recording(transcript, timestamps),
            describe_part=lambda part: as_part(part, timestamps),
            object="audio.transcription",
            id_prefix="transcription",
            model=model,
            stream=bool(body.stream),
            include_stages=bool(options and options.include_stages),
        )
        return TranscribeCall(analysis=analysis, format=_format(body, request))


def transcribe_router(surface: Surface) -> APIRouter:
    """The endpoint over a surface."""
    router = APIRouter(tags=["audio"])

    @router.post(
        TRANSCRIBE,
        summary="Transcribe a recording and answer a question about it",
        response_model=AudioAnalysis,
        responses={
            200: {
                "content": {
                    "text/plain": {"schema": {"type": "string"}},
                    "text/vtt": {"schema": {"type": "string"}},
                    **stream_content(TranscriptPartEvent, RecordingEvent, *ANALYSIS_EVENTS),
                }
            },
            **error_responses(),
        },
        openapi_extra=bodies(
            json=TranscribeRequest,
            json_examples=TRANSCRIBE_EXAMPLES,
            form=TranscribeUpload,
            form_examples=TRANSCRIBE_FORM_EXAMPLES,
        ),
    )
    async def transcribe(request: Request) -> Response:
        call = await _read(request, surface)
        if call.format == "json":
            return await answer(surface, request, call.analysis)
        outcome = await collect(surface, request, call.analysis.request, Transcript)
        return Response(
            as_written(outcome.features, call.format), headers={"content-type": content_type(call.format)}
        )

    return router


async def _read(request: Request, surface: Surface) -> TranscribeCall:
    converter = TranscribeConverter(surface)
    if is_form(request):
        return await read_form(
            request, TranscribeUpload, converter.of_form, limit_bytes=surface.args.limits.audio_bytes
        )
    return await read_body(request, TranscribeRequest, converter.of_json)


def _format(body: TranscribeOptions, request: AnalysisRequest) -> str:
    """The format, if it goes together with the other fields."""
    name = body.format or "json"
    if name != "json" and request.question is not None:
        raise InvalidRequest(f"The format {name} has no place for an answer. Use json.", param="prompt")
    if name != "json" and body.stream:
        raise InvalidRequest(f"The format {name} is not streamed. Use json.", param="stream")
    return name
