"""The life of a chat request over fake stages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Literal

import pytest

from multimodal.config import AppArgs, BypassArgs, GeneratorArgs, VisionArgs
from multimodal.errors import DeadlineExceeded, FileUnknown, InvalidMedia, LostMedia, StageUnavailable
from multimodal.generation.sources import NOTHING_FOUND
from multimodal.identity import FeatureKey
from multimodal.library.records import FileRecord, Retrieval
from multimodal.pipeline import Assistant
from multimodal.retrieval.types import Found, Hit, Search, Segment, SegmentPart
from multimodal.stages import Seen
from multimodal.types import (
    AnalysisEvent,
    AnalysisRequest,
    ChatEvent,
    ChatRequest,
    Citation,
    Deferred,
    FileReference,
    GenerationStep,
    GeneratorEmbedding,
    Image,
    InputMessage,
    Media,
    MediaKind,
    MediaPart,
    MediaSkipped,
    MediaSource,
    OnMediaError,
    Ready,
    RequestContext,
    Role,
    Sampling,
    Sources,
    SpeechHints,
    SpeechPlan,
    StageEvent,
    TextPart,
    Transcript,
    TranscriptPart,
    VideoFeatures,
)
from tests.encoder_fakes import vector_of
from tests.fakes import FakeStages, scene, spoken, told
from tests.unit.api.library_fakes import FakeFiles


def context(seconds: float = 30.0) -> RequestContext:
    return RequestContext(request_id="r", tenant="local", deadline_s=time.time() + seconds)


def source(kind: MediaKind, data: bytes, param: str) -> MediaSource:
    return MediaSource(kind=kind, data=data, param=param)


PICTURE = source(MediaKind.IMAGE, b"cat", "messages.0.content.0")
SPEECH = source(MediaKind.AUDIO, b"hello", "messages.0.content.1")
CLIP = source(MediaKind.VIDEO, b"clip", "messages.0.content.2")
BROKEN = source(MediaKind.IMAGE, b"bad picture", "messages.0.content.3")


def chat(*parts: TextPart | MediaSource, on_media_error: OnMediaError = OnMediaError.FAIL) -> ChatRequest:
    message = InputMessage(role=Role.USER, parts=parts)
    return ChatRequest(messages=(message,), sampling=Sampling(), on_media_error=on_media_error)


async def run(stages: FakeStages, request: ChatRequest, ctx: RequestContext | None = None) -> list[ChatEvent]:
    async with aclosing(Assistant(stages, AppArgs(), FakeFiles()).chat(ctx or context(), request)) as events:
        return [event async for event in events]


def answer(events: list[ChatEvent]) -> str:
    steps = [event for event in events if isinstance(event, GenerationStep)]
    return "".join(delta.text for step in steps for delta in step.deltas)


async def test_the_generator_is_told_what_every_medium_holds_beside_the_words() -> None:
    words = answer(await run(FakeStages(), chat(PICTURE, SPEECH, TextPart(text="and the question"))))
    for expected in ("text-of-cat", "speech-of-hello", "and the question"):
        assert expected in words


async def test_all_media_are_loaded_before_the_first_is_encoded() -> None:
    gate = asyncio.Event()
    stages = FakeStages(gates={"read": gate, "transcribe": gate, "watch": gate})
    task = asyncio.ensure_future(run(stages, chat(PICTURE, SPEECH, CLIP)))
    while not {"read", "transcribe", "watch"} <= set(stages.calls):
        await asyncio.sleep(0)
    gate.set()
    await task


async def test_a_failed_medium_names_its_part_and_ends_the_others() -> None:
    stages = FakeStages(gates={"transcribe": asyncio.Event()})
    with pytest.raises(InvalidMedia) as error:
        await run(stages, chat(SPEECH, BROKEN))
    assert error.value.param == BROKEN.param
    assert stages.cancelled == ["transcribe"]
    # Both loads.
    assert stages.abandoned == 2
    assert not stages.requests


async def test_a_failed_medium_can_be_skipped_and_is_reported() -> None:
    events = await run(FakeStages(), chat(PICTURE, BROKEN, on_media_error=OnMediaError.SKIP))
    skipped = [event for event in events if isinstance(event, MediaSkipped)]
    assert [(one.param, one.code) for one in skipped] == [(BROKEN.param, "invalid_media")]
    assert "text-of-cat" in answer(events)


async def test_lost_media_are_loaded_again_once() -> None:
    stages = FakeStages(failures={"read": [LostMedia("gone")]})
    assert "text-of-cat" in answer(await run(stages, chat(PICTURE)))
    assert stages.calls.count(f"load {PICTURE.param}") == 2


async def test_media_lost_twice_are_an_error() -> None:
    stages = FakeStages(failures={"read": [LostMedia("gone"), LostMedia("gone")]})
    with pytest.raises(StageUnavailable):
        await run(stages, chat(PICTURE))


async def test_a_stage_that_never_ends_is_cut_off_at_the_deadline() -> None:
    stages = FakeStages(gates={"read": asyncio.Event()})
    with pytest.raises(DeadlineExceeded):
        await run(stages, chat(PICTURE), context(seconds=0.05))


async def test_the_deadline_grows_with_the_length_of_sound_but_not_beyond_the_longest_allowed() -> None:
    stages, ctx = FakeStages(), context()
    long = replace(SPEECH, data=b"x" * 40_000)
    endless = replace(SPEECH, data=b"x" * 20_000_000, param="messages.0.content.9")
    await run(stages, chat(PICTURE), ctx)
    await run(stages, chat(long), ctx)
    await run(stages, chat(endless), ctx)
    grown = [round(seen.deadline_s - ctx.deadline_s) for seen in stages.contexts]
    assert grown == [0, 10, 1800]


async def test_closing_the_answer_stops_the_generator() -> None:
    stages = FakeStages()
    events = Assistant(stages, AppArgs(), FakeFiles()).chat(
        context(), chat(TextPart(text="one two three four"))
    )
    async for event in events:
        if isinstance(event, GenerationStep) and event.deltas:
            break
    assert stages.generator.running == 1
    await events.aclose()
    assert stages.generator.running == 0


async def test_closing_while_media_are_encoded_cancels_the_encoders() -> None:
    stages = FakeStages(gates={"read": asyncio.Event()})
    events = Assistant(stages, AppArgs(), FakeFiles()).chat(context(), chat(PICTURE))
    assert isinstance(await anext(events), StageEvent)
    while "read" not in stages.calls:
        await asyncio.sleep(0)
    await events.aclose()
    assert "read" in stages.cancelled


async def test_stages_are_announced_when_they_begin_and_timed_when_they_end() -> None:
    events = await run(FakeStages(), chat(PICTURE, TextPart(text="hi")))
    seen = [(event.stage, event.seconds is None) for event in events if isinstance(event, StageEvent)]
    assert seen == [(stage, began) for stage in ("load", "encode", "generate") for began in (True, False)]


async def test_a_medium_is_being_loaded_until_it_is_there() -> None:
    gate = asyncio.Event()
    stages = FakeStages(gates={f"load {PICTURE.param}": gate})
    events = Assistant(stages, AppArgs(), FakeFiles()).chat(context(), chat(PICTURE))
    seen = [await anext(events)]
    gate.set()
    seen += [event async for event in events if isinstance(event, StageEvent)]
    assert isinstance(seen[0], StageEvent)
    assert [event.stage for event in seen[1:3] if isinstance(event, StageEvent)] == ["load", "encode"]


# --- one medium ----------------------------------------------------------------------------------


async def analyze(stages: FakeStages, request: AnalysisRequest) -> list[AnalysisEvent]:
    async with aclosing(Assistant(stages, AppArgs(), FakeFiles()).analyze(context(), request)) as events:
        return [event async for event in events if not isinstance(event, StageEvent)]


async def test_a_recording_is_transcribed_and_nothing_is_generated_without_a_question() -> None:
    stages, hints = FakeStages(), SpeechHints(language="en", prompt="Anna")
    part, whole = await analyze(stages, AnalysisRequest(source=SPEECH, hints=hints))
    assert part == TranscriptPart(segments=spoken("speech-of-hello").segments)
    assert whole == spoken("speech-of-hello")
    assert stages.hints == [hints]
    assert not stages.requests


async def test_a_long_recording_comes_in_parts_in_order_and_as_a_whole() -> None:
    windows = tuple(((float(start), start + 10.0),) for start in range(0, 100, 10))
    stages = FakeStages(plan=SpeechPlan(windows=windows, language="en", duration_s=100.0))
    *parts, whole = await analyze(stages, AnalysisRequest(source=SPEECH))
    starts = [part.segments[0].start_s for part in parts if isinstance(part, TranscriptPart)]
    assert starts == [0.0, 40.0, 80.0]  # four windows in each call
    assert isinstance(whole, Transcript)
    assert [segment.start_s for segment in whole.segments] == starts
    assert whole.duration_s == 100.0


async def test_parts_that_were_told_are_not_told_again_when_the_recording_is_loaded_anew() -> None:
    windows = tuple(((float(start), start + 10.0),) for start in range(0, 80, 10))
    plan = SpeechPlan(windows=windows, language="en", duration_s=80.0)
    stages = FakeStages(plan=plan, failures={"transcribe_part 40": [LostMedia("gone")]})
    *parts, whole = await analyze(stages, AnalysisRequest(source=SPEECH))
    assert len(parts) == 2
    assert isinstance(whole, Transcript)
    assert stages.calls.count(f"load {SPEECH.param}") == 2


async def test_a_question_about_a_clip_is_answered_after_what_is_known_of_it() -> None:
    stages, hints = FakeStages(), SpeechHints(prompt="Anna")
    request = AnalysisRequest(
        source=CLIP, question="what is it", sampling=Sampling(max_tokens=3), hints=hints
    )
    features, *steps = await analyze(stages, request)
    assert isinstance(features, VideoFeatures)
    assert "what is it" in told(stages.requests[0])
    assert stages.requests[0].sampling.max_tokens == 3
    assert stages.hints == [hints]
    assert all(isinstance(step, GenerationStep) for step in steps)


async def test_a_broken_recording_is_named() -> None:
    broken = replace(SPEECH, data=b"bad", param="file")
    with pytest.raises(InvalidMedia) as error:
        await analyze(FakeStages(), AnalysisRequest(source=broken))
    assert error.value.param == "file"


async def test_a_generator_with_its_own_tower_is_given_the_decoded_picture() -> None:
    stages = FakeStages()
    args = AppArgs.model_validate({"generator": {"pixels": True}, "vision": None})
    async with aclosing(Assistant(stages, args, FakeFiles()).chat(context(), chat(PICTURE))) as events:
        async for _ in events:
            pass
    assert [type(visual).__name__ for visual in stages.visuals] == ["Image"]
    assert "text-of-cat" in told(stages.requests[0])


# --- a generator that is given embeddings --------------------------------------------------------

RED, GREEN, BLUE = (vector_of(name) for name in ("red", "green", "blue"))


def with_tower() -> FakeStages:
    """Every picture is red; every video is green, then blue. Recordings have nothing to look at."""
    scenes = (scene(GREEN, 1), scene(BLUE, 1, start_s=1.0))
    return FakeStages(has_vision_tower=True, picture=RED, scenes=scenes)


def rows_of(stages: FakeStages) -> list[list[list[float]]]:
    """What the generator is given, by its numbers."""
    assert all(isinstance(visual, GeneratorEmbedding) for visual in stages.visuals)
    return [visual.rows.tolist() for visual in stages.visuals if isinstance(visual, GeneratorEmbedding)]


@pytest.mark.parametrize(
    "parts", [(CLIP, SPEECH, PICTURE), (PICTURE, CLIP, SPEECH), (SPEECH, PICTURE, CLIP), (PICTURE,), (CLIP,)]
)
@pytest.mark.parametrize("late", ["watch", "encode_image"])
async def test_what_is_seen_of_pictures_and_videos_comes_in_the_order_of_the_parts(
    parts: tuple[MediaSource, ...], late: str
) -> None:
    stages, gate = with_tower(), asyncio.Event()
    stages.gates = {late: gate}
    task = asyncio.ensure_future(run(stages, chat(*parts, TextPart(text="what is it"))))
    for _ in range(50):
        await asyncio.sleep(0)
    gate.set()
    await task
    rows = {PICTURE.param: [RED.tolist()], CLIP.param: [GREEN.tolist(), BLUE.tolist()]}
    assert rows_of(stages) == [rows[part.param] for part in parts if part is not SPEECH]
    (message,) = stages.requests[0].messages
    numbers = {part.param: part.visual for part in message.parts if isinstance(part, MediaPart)}
    seen = [part.param for part in parts if part is not SPEECH]
    assert numbers == {part.param: None for part in parts} | {param: at for at, param in enumerate(seen)}


async def test_the_words_about_media_stay_beside_what_is_seen() -> None:
    stages = with_tower()
    words = answer(await run(stages, chat(PICTURE, SPEECH, TextPart(text="what is it"))))
    for expected in ("text-of-cat", "speech-of-hello", "what is it"):
        assert expected in words


@pytest.mark.parametrize("part", [PICTURE, CLIP])
async def test_a_connector_that_fails_ends_the_request_with_its_error(part: MediaSource) -> None:
    stages, error = with_tower(), StageUnavailable("The vision tower is restarting.")
    stages.failures = {"see": [error]}
    with pytest.raises(StageUnavailable) as raised:
        await run(stages, chat(part, TextPart(text="what is it")))
    assert raised.value is error
    assert not stages.visuals


@pytest.mark.parametrize("part", [PICTURE, CLIP])
async def test_what_cannot_be_looked_at_can_be_skipped(part: MediaSource) -> None:
    stages = with_tower()
    stages.failures = {"see": [StageUnavailable("The vision tower is restarting.")]}
    events = await run(stages, chat(part, TextPart(text="what is it"), on_media_error=OnMediaError.SKIP))
    (skipped,) = [event for event in events if isinstance(event, MediaSkipped)]
    assert (skipped.param, skipped.code) == (part.param, "stage_unavailable")
    assert not stages.visuals


async def test_nothing_is_looked_at_any_more_when_the_medium_fails() -> None:
    stages = with_tower()
    stages.gates, stages.failures = {"see": asyncio.Event()}, {"read": [InvalidMedia("broken")]}
    with pytest.raises(InvalidMedia):
        await run(stages, chat(PICTURE))
    assert stages.cancelled == ["see"]


async def test_a_picture_that_is_loaded_again_is_looked_at_once() -> None:
    stages = with_tower()
    stages.failures = {"read": [LostMedia("gone")]}
    await run(stages, chat(PICTURE))
    assert rows_of(stages) == [[RED.tolist()]]


async def test_a_question_about_a_clip_is_answered_with_what_is_seen_of_it() -> None:
    stages = with_tower()
    await analyze(stages, AnalysisRequest(source=CLIP, question="what is it"))
    assert rows_of(stages) == [[GREEN.tolist(), BLUE.tolist()]]


async def test_without_a_question_a_clip_is_not_looked_at() -> None:
    stages = with_tower()
    await analyze(stages, AnalysisRequest(source=CLIP))
    assert "see" not in stages.calls


class MomentStages(FakeStages):
    """Notes what moments are asked about."""

    def __init__(self) -> None:
        super().__init__(has_vision_tower=True, picture=RED, scenes=(scene(GREEN, 9),))
        self.moments_s: list[tuple[float, ...]] = []

    def see(
        self,
        ctx: RequestContext,
        seen: Seen | Deferred[Media],
        moments_s: Sequence[float],
        key: FeatureKey | None = None,
    ) -> Deferred[GeneratorEmbedding]:
        self.moments_s.append(tuple(moments_s))
        return super().see(ctx, seen, moments_s, key)


@pytest.mark.parametrize(("part", "asked"), [(CLIP, (5.0, 2.0)), (PICTURE, ())])
async def test_a_video_is_looked_at_where_the_question_says(
    part: MediaSource, asked: tuple[float, ...]
) -> None:
    stages = MomentStages()
    before = TextPart(text="and after 7 seconds?")
    question = TextPart(text="what is there at 0:05, and at 2 seconds?")
    earlier = InputMessage(role=Role.USER, parts=(before, part))
    last = InputMessage(role=Role.USER, parts=(question,))
    await run(stages, ChatRequest(messages=(earlier, last), sampling=Sampling()))
    assert stages.moments_s == [asked]


async def test_a_question_about_a_clip_may_name_a_moment() -> None:
    stages = MomentStages()
    await analyze(stages, AnalysisRequest(source=CLIP, question="what is it at second 3?"))
    assert stages.moments_s == [(3.0,)]


async def test_without_a_vision_tower_nothing_is_looked_at() -> None:
    stages = replace(with_tower(), has_vision_tower=False)
    await run(stages, chat(PICTURE, CLIP))
    assert "see" not in stages.calls
    assert not stages.visuals


# --- answers that stand on uploaded files --------------------------------------------------------


class Shelved(FakeStages):
    """The index finds what it is given; every search is kept."""

    def __init__(self, *hits: Hit, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.hits = hits
        self.searches: list[Search] = []

    def search(self, ctx: RequestContext, search: Search) -> Deferred[Found]:
        self.searches.append(search)
        return Ready(Found(hits=self.hits, more=False))


FILES = FakeFiles()
NOTES = FILES.put(b"notes", filename="notes.txt")
PHOTO = FILES.put(b"cat", filename="photo.png", kind=MediaKind.IMAGE)


def hit(record: FileRecord, text: str, part: SegmentPart = SegmentPart.TEXT, **fields: object) -> Hit:
    segment = Segment(
        id=f"{record.id}/{text}",
        tenant="local",
        file_id=record.id,
        sha256=record.content.sha256,
        kind=record.kind or MediaKind.DOCUMENT,
        part=part,
        ordinal=0,
        text=text,
    )
    return Hit(segment=replace(segment, **fields), score=1.0, similarity=0.7)  # type: ignore[arg-type]


async def ground(stages: FakeStages, request: ChatRequest, **options: object) -> list[ChatEvent]:
    retrieval = Retrieval(**options)  # type: ignore[arg-type]
    assistant = Assistant(stages, AppArgs(), FILES)
    async with aclosing(assistant.chat(context(), request, retrieval)) as events:
        return [event async for event in events]


def cited(events: list[ChatEvent]) -> list[Citation]:
    (sources,) = [event for event in events if isinstance(event, Sources)]
    return list(sources.citations)


async def test_an_answer_is_told_what_was_found_the_best_last_and_cites_it() -> None:
    stages = Shelved(hit(NOTES, "best passage"), hit(NOTES, "second passage"))
    events = await ground(stages, chat(TextPart(text="and the question")))
    words = answer(events)
    assert words.index("second passage") < words.index("best passage") < words.index("and the question")
    assert [(one.number, one.snippet) for one in cited(events)] == [
        (1, "best passage"),
        (2, "second passage"),
    ]
    kinds = [type(event) for event in events]
    first_words = next(i for i, one in enumerate(events) if isinstance(one, GenerationStep) and one.deltas)
    assert kinds.index(GenerationStep) < kinds.index(Sources) < first_words
    stages_seen = [event.stage for event in events if isinstance(event, StageEvent)]
    assert stages_seen == ["retrieve", "retrieve", "generate", "generate"]


async def test_where_nothing_is_found_the_generator_is_told_so() -> None:
    events = await ground(Shelved(), chat(TextPart(text="what?")))
    assert NOTHING_FOUND in answer(events)
    assert cited(events) == []


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize(("route", "form"), [("tower", GeneratorEmbedding), ("engine", Image)])
async def test_where_the_engine_keeps_its_tower_what_was_found_goes_the_way_of_what_was_sent(
    route: Literal["tower", "engine"], form: type[object], attached: bool
) -> None:
    args = AppArgs(
        generator=GeneratorArgs(pixels=True),
        vision=VisionArgs(source="tower", bypass=BypassArgs(route=route)),
    )
    stages = Shelved(hit(PHOTO, "", SegmentPart.PICTURE), has_vision_tower=True)
    parts = (PICTURE, TextPart(text="what?")) if attached else (TextPart(text="what?"),)
    assistant = Assistant(stages, args, FILES)
    async with aclosing(assistant.chat(context(), chat(*parts), Retrieval())) as events:
        async for _ in events:
            pass
    assert [type(visual) for visual in stages.visuals] == [form] * len(parts)


async def test_a_picture_that_was_found_is_looked_at_without_being_encoded() -> None:
    stages = Shelved(
        hit(PHOTO, "", SegmentPart.PICTURE, picture=RED, logit_scale=10.0), has_vision_tower=True
    )
    events = await ground(stages, chat(TextPart(text="what?")))
    (visual,) = stages.visuals
    assert isinstance(visual, GeneratorEmbedding)
    assert "encode_image" not in stages.calls
    assert [one.file_id for one in cited(events)] == [PHOTO.id]


async def test_files_of_the_conversation_are_not_looked_into_again() -> None:
    stages = Shelved()
    reference = FileReference(file_id=NOTES.id, param="messages.0.content.0")
    message = InputMessage(role=Role.USER, parts=(reference, TextPart(text="what?")))
    await ground(stages, ChatRequest(messages=(message,), sampling=Sampling()))
    assert stages.searches[0].filter.not_file_ids == (NOTES.id,)


async def test_an_uploaded_file_stands_where_its_id_stood() -> None:
    reference = FileReference(file_id=PHOTO.id, param="messages.0.content.0")
    message = InputMessage(role=Role.USER, parts=(reference,))
    stages = FakeStages()
    request = ChatRequest(messages=(message,), sampling=Sampling())
    async with aclosing(Assistant(stages, AppArgs(), FILES).chat(context(), request)) as events:
        [event async for event in events]
    assert f"load {reference.param}" in stages.calls


async def test_a_file_that_is_not_there_is_named_or_skipped() -> None:
    reference = FileReference(file_id="file-0", param="messages.0.content.0")
    message = InputMessage(role=Role.USER, parts=(reference, TextPart(text="hi")))
    request = ChatRequest(messages=(message,), sampling=Sampling())
    with pytest.raises(FileUnknown) as error:
        await run(FakeStages(), request)
    assert error.value.param == reference.param
    events = await run(FakeStages(), replace(request, on_media_error=OnMediaError.SKIP))
    assert [one.code for one in events if isinstance(one, MediaSkipped)] == ["file_not_found"]


async def test_a_retriever_that_fails_fails_the_answer_that_needs_it() -> None:
    stages = FakeStages(failures={"search": [StageUnavailable.restarting("Retriever")]})
    with pytest.raises(StageUnavailable):
        await ground(stages, chat(TextPart(text="what?")))
    assert not stages.requests
