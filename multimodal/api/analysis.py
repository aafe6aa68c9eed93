"""One medium through the service, and a question about it: what `/v1/audio/transcribe` and
`/v1/video/analyze` have in common.

An endpoint parses its body into an `AnalysisCall` and returns `await answer(surface, request, call)`: one
JSON object, or a stream of these events, each with the `id` of the answer:

    {"object": "<object>.stage", "stage": {...}}       with include_stages, as in chat
    {"object": "<object>.part", ...}                   parts of a transcript as they come
    {"object": "<object>", ...}                        once it is understood: everything but the answer
    {"object": "<object>.delta", "delta": "text"}      the answer as it grows
    {"object": "<object>.done", "answer": ..., "finish_reason": ..., "usage": ..., "media_notes"?, "stages"?}
    data: [DONE]

`collect` alone gives the outcome to endpoints that put it into other words. The response model of an endpoint
is `class X(AnalysisAnswer, <its own fields>, AnalysisHead)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel

from multimodal.api.analysis_schemas import AnalysisAnswer, AnalysisHead, AnalysisOptions
from multimodal.api.disconnect import AbortOnDisconnect
from multimodal.api.event_stream import EventStream
from multimodal.api.exchange import Exchange, exchange_of
from multimodal.api.record import Record, StageLabels
from multimodal.api.responses import ChatUsage
from multimodal.api.sse import DONE, data_event, stage_fields, to_json
from multimodal.api.surface import Surface
from multimodal.errors import InvalidRequest, MultimodalError
from multimodal.languages import code_of
from multimodal.types import (
    AnalysisEvent,
    AnalysisRequest,
    GenerationStep,
    SpeechHints,
    StageEvent,
    Transcript,
    TranscriptPart,
    VideoFeatures,
)

F = TypeVar("F", bound=Transcript | VideoFeatures)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisCall(Generic[F]):
    """A checked request, and how its answer is wanted."""

    request: AnalysisRequest
    features: type[F]
    """What the service says of such a medium: Transcript or VideoFeatures."""
    describe: Callable[[F], BaseModel]
    """The endpoint's own fields of the answer. Only fields that are set are sent."""
    describe_part: Callable[[TranscriptPart], BaseModel] | None = None
    """The fields of a part of a transcript, where there are parts."""
    object: str
    """What the answer is called: "audio.transcription"."""
    id_prefix: str
    """What its id begins with."""
    model: str
    stream: bool
    include_stages: bool


class Outcome(Generic[F]):
    """What is known so far of one medium, and of the answer about it."""

    def __init__(self, request: AnalysisRequest, features: type[F], record: Record) -> None:
        self.record = record
        self._asked = request.question is not None
        self._kind = features
        self._features: F | None = None
        self._texts: list[str] = []
        self._finish_reason: str | None = None

    def see(self, event: AnalysisEvent) -> None:
        """Take note of an event. Called once for each, in order."""
        self.record.see(event)
        if isinstance(event, GenerationStep):
            for delta in event.deltas:
                self._texts.append(delta.text)
                self._finish_reason = delta.finish_reason or self._finish_reason
        elif isinstance(event, self._kind):
            self._features = event

    @property
    def features(self) -> F:
        """What is known of the medium. Raises MultimodalError where the service did not say."""
        if self._features is None:
            raise MultimodalError("The analysis ended without a result. Try again.")
        return self._features

    def answer(self, exchange: Exchange, include_stages: bool) -> AnalysisAnswer:
        """The answer, once all events were seen. Raises MultimodalError where it is not whole."""
        usage = exchange.usage
        if self._asked and usage is None:
            raise MultimodalError("The generator ended without an answer. Try again.")
        answer = AnalysisAnswer(
            answer="".join(self._texts) if self._asked else None,
            finish_reason=("length" if self._finish_reason == "length" else "stop") if self._asked else None,
            usage=None if usage is None else ChatUsage.of(usage),
        )
        extras: dict[str, object] = {}
        if self.record.notes:
            extras["media_notes"] = self.record.notes
        if include_stages:
            extras["stages"] = self.record.stages()
        return answer.model_copy(update=extras)


async def collect(
    surface: Surface, request: Request, wanted: AnalysisRequest, features: type[F]
) -> Outcome[F]:
    """All that the service says. Raises its errors, and ClientDisconnected."""
    exchange = exchange_of(request.scope)
    outcome = Outcome(wanted, features, Record(exchange, metrics=surface.metrics, timer=surface.timer))
    events = surface.service().analyze(surface.context(exchange), wanted)
    async with AbortOnDisconnect(request.receive), aclosing(events):
        async for event in events:
            outcome.see(event)
    return outcome


async def answer(surface: Surface, request: Request, call: AnalysisCall[F]) -> Response:
    """One JSON object, or a stream. Raises the service's errors, or leaves them to the stream."""
    exchange = exchange_of(request.scope)
    head = AnalysisHead(
        id=f"{call.id_prefix}-{exchange.request_id.replace('-', '')}",
        object=call.object,
        created=int(surface.clock()),
        model=call.model,
    )
    if call.stream:
        record = Record(exchange, metrics=surface.metrics, timer=surface.timer)
        events = surface.service().analyze(surface.context(exchange), call.request)
        return AnalysisStream(events, exchange, call, head, Outcome(call.request, call.features, record))
    outcome = await collect(surface, request, call.request, call.features)
    last = outcome.answer(exchange, call.include_stages)
    # Half an hour of speech has thousands of words.
    body = await asyncio.to_thread(
        lambda: to_json(_fields(head) | _fields(call.describe(outcome.features)) | _fields(last))
    )
    return Response(body, media_type="application/json")


class AnalysisStream(EventStream[AnalysisEvent], Generic[F]):
    """The events that this module begins with."""

    def __init__(
        self,
        events: AsyncGenerator[AnalysisEvent, None],
        exchange: Exchange,
        call: AnalysisCall[F],
        head: AnalysisHead,
        outcome: Outcome[F],
    ) -> None:
        super().__init__(events, exchange)
        self._call = call
        self._head = head
        self._outcome = outcome
        self._labels = StageLabels([call.request.source]) if call.include_stages else None

    def _format(self, event: AnalysisEvent) -> bytes:
        self._outcome.see(event)
        if isinstance(event, GenerationStep):
            text = "".join([delta.text for delta in event.deltas])
            return self._event("delta", {"delta": text}) if text else b""
        if isinstance(event, StageEvent):
            return self._stage(event)
        if isinstance(event, TranscriptPart):
            return self._part(event)
        return data_event(_fields(self._head) | _fields(self._call.describe(self._outcome.features)))

    def _part(self, part: TranscriptPart) -> bytes:
        describe = self._call.describe_part
        return self._event("part", _fields(describe(part))) if describe and part.segments else b""

    def _stage(self, event: StageEvent) -> bytes:
        if self._labels is None:
            return b""
        return self._event("stage", {"stage": stage_fields(event, self._labels.label(event))})

    def _ending(self) -> Iterator[bytes]:
        _ = self._outcome.features
        yield self._event("done", _fields(self._outcome.answer(self._exchange, self._call.include_stages)))
        yield DONE

    def _event(self, name: str, fields: dict[str, object]) -> bytes:
        return data_event({"id": self._head.id, "object": f"{self._head.object}.{name}", **fields})


def question_of(options: AnalysisOptions) -> str | None:
    """The question, None where there is only blank space."""
    return options.prompt if options.prompt and not options.prompt.isspace() else None


def language_of(name: str | None) -> str | None:
    """Code of a language that a client names. Raises InvalidRequest for one that there is not."""
    if not name:
        return None
    code = code_of(name)
    if code is None:
        raise InvalidRequest(
            "This language is not known. Send its ISO 639-1 code (en) or its English name, or leave it out.",
            param="language",
        )
    return code


def hints_of(options: AnalysisOptions) -> SpeechHints:
    """What helps transcription. Raises InvalidRequest for an unknown language."""
    return SpeechHints(language=language_of(options.language), prompt=options.hint or "")


def _fields(model: BaseModel) -> dict[str, object]:
    return model.model_dump(mode="json", exclude_unset=True)
