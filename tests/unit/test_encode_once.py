"""What is known of a medium is not made again, and requests at the same time have it made once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from multimodal.config import AppArgs, GeneratorArgs, VisionArgs
from multimodal.encode_once import LARGE_BYTES, hashed
from multimodal.errors import InvalidMedia, LostMedia, StageUnavailable
from multimodal.identity import FeatureKey, sha256_of
from multimodal.pipeline import Assistant
from multimodal.stages import Seen, Sound
from multimodal.types import (
    ChatRequest,
    Deferred,
    FrameSampling,
    GeneratorEmbedding,
    Image,
    InputMessage,
    Media,
    MediaKind,
    MediaSource,
    Ready,
    RequestContext,
    Role,
    Sampling,
    SpeechHints,
    SpeechPlan,
    StageEvent,
    TextPart,
    Transcript,
    TranscriptPart,
    Video,
)
from multimodal.understanding import Medium, Understood
from tests.encoder_fakes import vector_of
from tests.fakes import FakeStages, remembering, scene
from tests.unit.api.library_fakes import FakeFiles

IMAGE, AUDIO, VIDEO, DOCUMENT = MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO, MediaKind.DOCUMENT
ENCODERS = {
    IMAGE: ["encode_image", "read"],
    AUDIO: ["transcribe"],
    VIDEO: ["watch"],
    DOCUMENT: ["read_document"],
}
TOWER = AppArgs(vision=VisionArgs(source="tower"))
PIXELS = AppArgs(vision=None, generator=GeneratorArgs(pixels=True))
WINDOWS = ((0.0, 30.0),), ((30.0, 60.0),), ((60.0, 90.0),)
LONG = SpeechPlan(windows=WINDOWS, language="en", duration_s=90.0)


@dataclass
class Keyed(FakeStages):
    """Notes the keys that calls are made with."""

    keys: dict[str, list[FeatureKey | None]] = field(default_factory=dict)
    seen: list[object] = field(default_factory=list)
    """What `see` was given."""

    def transcribe(
        self, ctx: RequestContext, audio: Sound, hints: SpeechHints, key: FeatureKey | None = None
    ) -> Deferred[Transcript | SpeechPlan]:
        self.keys.setdefault("transcribe", []).append(key)
        return super().transcribe(ctx, audio, hints, key)

    def load(
        self, ctx: RequestContext, source: MediaSource, key: FeatureKey | None = None
    ) -> Deferred[Media]:
        self.keys.setdefault("load", []).append(key)
        return super().load(ctx, source, key)

    def see(
        self,
        ctx: RequestContext,
        seen: Seen | Deferred[Media],
        moments_s: Sequence[float],
        key: FeatureKey | None = None,
    ) -> Deferred[GeneratorEmbedding]:
        async def see() -> GeneratorEmbedding:
            self.seen.append(seen if isinstance(seen, Seen) else await seen)
            return GeneratorEmbedding(rows=np.ones((2, 8), np.float32))

        return self._start("see", see)


def graph(args: AppArgs | None = None, **changes: object) -> Keyed:
    """With a memory of 4 MiB."""
    return Keyed(
        once=remembering(2**22, args),
        picture=vector_of("red"),
        scenes=(scene(vector_of("red"), 2),),
        has_vision_tower=True,
        **changes,  # type: ignore[arg-type]
    )


class Asked:
    """A request about one medium."""

    def __init__(
        self,
        stages: FakeStages,
        kind: MediaKind = IMAGE,
        *,
        data: bytes = b"cat",
        number: int = 0,
        tenant: str = "ann",
        args: AppArgs | None = None,
        hints: SpeechHints | None = None,
        question: str = "What is it?",
        sampling: FrameSampling = FrameSampling.UNIFORM,
        max_frames: int | None = None,
    ) -> None:
        self.param = f"messages.0.content.{number}"
        self.events: list[StageEvent | TranscriptPart] = []
        self._question = question
        ctx = RequestContext(request_id="r", tenant=tenant, deadline_s=time.time() + 30)
        source = MediaSource(
            kind=kind, data=data, param=self.param, frame_sampling=sampling, max_frames=max_frames
        )
        self.medium = Medium(stages, args or AppArgs(), ctx, source, self.events.append, hints)

    async def __call__(self) -> Understood:
        return await self.medium.understand(self._question)

    @property
    def stages(self) -> list[tuple[str, bool, bool]]:
        """Stage, whether it has ended, and whether nothing was made in it."""
        return [
            (one.stage, one.seconds is not None, one.cached)
            for one in self.events
            if isinstance(one, StageEvent)
        ]

    @property
    def heard(self) -> list[str]:
        """The words of each part of a transcript."""
        parts = [one for one in self.events if isinstance(one, TranscriptPart)]
        return [" ".join(segment.text for segment in part.segments) for part in parts]


LOADED = [("load", False, False), ("load", True, False), ("encode", False, False), ("encode", True, False)]
KNOWN = [("encode", False, False), ("encode", True, True)]


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


def loads(stages: FakeStages) -> int:
    return sum(call.startswith("load ") for call in stages.calls)


# --- one after the other -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MediaKind)
async def test_the_second_request_about_the_same_bytes_calls_no_stage(kind: MediaKind) -> None:
    stages = graph()
    first, second = Asked(stages, kind), Asked(stages, kind, number=0)
    one = await first()
    called = sorted(stages.calls)
    assert set(ENCODERS[kind]) | {f"load {first.param}"} <= set(called)
    assert first.stages == LOADED
    other = await second()
    assert sorted(stages.calls) == called
    assert second.stages == KNOWN
    assert other.part == one.part
    assert other.affinity == one.affinity != ""
    assert (other.visual is None) == (one.visual is None)
    if one.visual is not None and other.visual is not None:
        seen, again = await one.visual, await other.visual
        assert isinstance(seen, GeneratorEmbedding)
        assert isinstance(again, GeneratorEmbedding)
        assert np.array_equal(seen.rows, again.rows)


async def test_without_memory_everything_is_made_again() -> None:
    stages = FakeStages()
    for _ in range(2):
        one = Asked(stages)
        await one()
        assert one.stages == LOADED
    assert loads(stages) == 2


@pytest.mark.parametrize("kind", MediaKind)
@pytest.mark.parametrize("other", [{"tenant": "bob"}, {"data": b"dog"}])
async def test_another_tenant_and_other_bytes_are_encoded(kind: MediaKind, other: dict[str, str]) -> None:
    stages = graph()
    first = await Asked(stages, kind)()
    second = Asked(stages, kind, **other)  # type: ignore[arg-type]
    found = await second()
    assert second.stages == LOADED
    assert found.affinity != first.affinity
    for call in ENCODERS[kind]:
        assert stages.calls.count(call) == 2


@pytest.mark.parametrize("other", [{"max_frames": 3}, {"sampling": FrameSampling.SCENE}])
async def test_a_video_that_is_sampled_in_another_way_is_another_feature(other: dict[str, object]) -> None:
    stages = graph()
    first = await Asked(stages, VIDEO)()
    second = Asked(stages, VIDEO, **other)  # type: ignore[arg-type]
    found = await second()
    assert second.stages == LOADED
    assert stages.calls.count("watch") == 2
    assert found.affinity == first.affinity


async def test_the_number_of_frames_may_be_named_or_not() -> None:
    stages = graph()
    await Asked(stages, VIDEO)()
    second = Asked(stages, VIDEO, max_frames=AppArgs().loader.max_frames)
    await second()
    assert second.stages == KNOWN


async def test_other_moments_of_a_known_video_are_looked_at_without_loading_it() -> None:
    stages = graph()
    await Asked(stages, VIDEO)()
    second = Asked(stages, VIDEO, question="What is there at 0:05?")
    await second()
    assert (loads(stages), stages.calls.count("watch"), stages.calls.count("see")) == (1, 1, 2)
    assert second.stages == [("encode", False, False), ("encode", True, False)]


async def test_features_alone_are_those_of_a_chat() -> None:
    stages = graph()
    await Asked(stages)()
    called = list(stages.calls)
    assert await Asked(stages).medium.features()
    assert stages.calls == called


async def test_all_calls_about_a_medium_have_its_affinity() -> None:
    stages = graph()
    found = await Asked(stages, AUDIO)()
    keys = [key for calls in stages.keys.values() for key in calls]
    assert [key and key.affinity for key in keys] == [found.affinity] * 2
    assert len({key and key.digest for key in keys}) == 2


# --- speech --------------------------------------------------------------------------------------------


async def test_the_parts_of_a_transcript_are_told_once_also_where_it_is_known() -> None:
    stages = graph(plan=LONG)
    first, second = Asked(stages, AUDIO), Asked(stages, AUDIO)
    await first()
    assert first.heard == ["speech-from-0"]  # 4 windows in one call
    await second()
    assert second.heard == first.heard
    parted = AppArgs.model_validate({"audio": {"part_windows": 1}})
    third, fresh = Asked(stages, AUDIO, args=parted), Asked(graph(plan=LONG), AUDIO, args=parted)
    await third()
    assert third.heard == first.heard
    await fresh()
    assert fresh.heard == ["speech-from-0", "speech-from-30", "speech-from-60"]


async def test_who_lost_a_recording_on_the_way_is_told_the_rest_of_what_is_known_by_then() -> None:
    parted = AppArgs.model_validate({"audio": {"part_windows": 1}})
    stages = graph(plan=LONG, failures={"transcribe_part 60": [LostMedia("gone")]})
    asked, other = Asked(stages, AUDIO, args=parted), Asked(stages, AUDIO, args=parted)
    gate = asyncio.Event()
    stages.gates = {"transcribe_part 60": gate}

    async def work(one: Medium) -> Transcript:
        if asked.heard:
            await other()
        return await one.transcript()

    work_on = asyncio.ensure_future(asked.medium.work_on(work))
    while len(asked.heard) < 2:
        await asyncio.sleep(0)
    gate.set()
    await work_on
    assert asked.heard == ["speech-from-0", "speech-from-30", "speech-from-60"]


async def test_who_shares_a_transcript_is_told_of_it_once() -> None:
    stages = graph(plan=LONG)
    parted = AppArgs.model_validate({"audio": {"part_windows": 1}})
    asked = [Asked(stages, AUDIO, args=parted) for _ in range(3)]
    await asyncio.gather(*(one() for one in asked))
    parts = ["speech-from-0", "speech-from-30", "speech-from-60"]
    assert [one.heard for one in asked] == [parts, [" ".join(parts)], [" ".join(parts)]]


@pytest.mark.parametrize(("kind", "call"), [(AUDIO, "transcribe"), (VIDEO, "watch")])
async def test_words_that_are_drawn_are_drawn_each_time(kind: MediaKind, call: str) -> None:
    stages = graph()
    hints = SpeechHints(temperature=0.5)
    for _ in range(2):
        one = Asked(stages, kind, hints=hints)
        await one()
        assert one.stages == LOADED
    await asyncio.gather(*(Asked(stages, kind, hints=hints)() for _ in range(2)))
    assert stages.calls.count(call) == 4
    # Nor do the encoders share or keep them.
    keys = [key.digest for key in stages.keys.get("transcribe", []) if key]
    assert len(set(keys)) == len(keys)


async def test_drawn_words_are_of_the_replica_that_has_the_recording() -> None:
    stages = graph()
    found = await Asked(stages, AUDIO, hints=SpeechHints(temperature=0.5))()
    (key,) = stages.keys["transcribe"]
    assert key is not None
    assert key.affinity == found.affinity


async def test_the_speech_of_a_video_is_kept_unless_its_words_are_drawn() -> None:
    once = remembering(2**22)
    ctx = RequestContext(request_id="r", tenant="ann", deadline_s=time.time() + 30)
    keys: list[FeatureKey] = []

    async def make(key: FeatureKey) -> Transcript:
        keys.append(key)
        return Transcript(segments=(), language="en", duration_s=1.0)

    for _ in range(2):
        await once.speech(ctx, sha256_of(b"clip"), SpeechHints(), make)
    assert len(keys) == 1
    for _ in range(2):
        await once.speech(ctx, sha256_of(b"clip"), SpeechHints(temperature=0.5), make)
    assert len({key.digest for key in keys}) == 3
    assert len({key.affinity for key in keys}) == 1


# --- at the same time ------------------------------------------------------------------------------------


async def test_requests_at_the_same_time_have_it_made_once() -> None:
    stages = graph()
    asked = [Asked(stages, number=number) for number in range(64)]
    found = await asyncio.gather(*(one() for one in asked))
    assert loads(stages) == 1
    assert [stages.calls.count(one) for one in ("encode_image", "read", "see")] == [1, 1, 1]
    assert len({" ".join(one.part.lines) for one in found}) == 1
    assert [one.part.param for one in found] == [one.param for one in asked]
    assert asked[0].stages == LOADED
    # The others have waited: for them it was not known.
    assert all(one.stages == [("encode", False, False), ("encode", True, False)] for one in asked[1:])


async def test_others_get_their_answers_although_the_first_has_gone() -> None:
    gate = asyncio.Event()
    stages = graph(gates={"encode_image": gate, "read": gate})
    leader, *others = [asyncio.ensure_future(Asked(stages, number=number)()) for number in range(4)]
    await settle()
    assert {"encode_image", "read"} <= set(stages.calls)
    leader.cancel()
    await settle()
    assert leader.cancelled()
    assert (stages.abandoned, stages.cancelled) == (0, [])
    gate.set()
    found = await asyncio.gather(*others)
    assert all("text-of-cat" in " ".join(one.part.lines) for one in found)
    assert loads(stages) == stages.calls.count("read") == 1


async def test_the_first_may_go_while_it_is_still_being_loaded() -> None:
    gate = asyncio.Event()
    stages = graph(gates={"load messages.0.content.0": gate})
    leader, *others = [asyncio.ensure_future(Asked(stages, number=number)()) for number in range(4)]
    await settle()
    leader.cancel()
    await settle()
    assert (stages.abandoned, stages.cancelled) == (0, [])
    gate.set()
    assert len(await asyncio.gather(*others)) == 3
    assert loads(stages) == 1


async def test_what_nobody_waits_for_any_more_is_given_up() -> None:
    stages = graph(gates={"load messages.0.content.0": asyncio.Event()})
    asked = [asyncio.ensure_future(Asked(stages, number=number)()) for number in range(4)]
    await settle()
    for one in asked:
        one.cancel()
    await settle()
    assert all(one.cancelled() for one in asked)
    assert stages.abandoned == 1
    assert "load messages.0.content.0" in stages.cancelled


async def test_a_broken_medium_is_the_error_of_each_with_its_own_part() -> None:
    stages = graph()
    asked = [Asked(stages, number=number, data=b"bad picture") for number in range(8)]
    found = await asyncio.gather(*(one() for one in asked), return_exceptions=True)
    assert [type(one) for one in found] == [InvalidMedia] * 8
    assert [one.param for one in found if isinstance(one, InvalidMedia)] == [one.param for one in asked]
    assert loads(stages) == 1


async def test_a_broken_medium_is_not_remembered_as_such() -> None:
    stages = graph()
    for _ in range(2):
        with pytest.raises(InvalidMedia):
            await Asked(stages, data=b"bad picture")()
    assert loads(stages) == 2


async def test_a_stage_that_fails_for_the_first_is_asked_again_for_the_others() -> None:
    stages = graph(failures={"encode_image": [StageUnavailable("It is restarting.", retry_after_s=1)]})
    found = await asyncio.gather(
        *(Asked(stages, number=number)() for number in range(4)), return_exceptions=True
    )
    assert [type(one) for one in found] == [StageUnavailable, Understood, Understood, Understood]
    assert stages.calls.count("encode_image") == 2


@pytest.mark.parametrize("requests", [1, 4])
@pytest.mark.parametrize(("kind", "call"), [(IMAGE, "encode_image"), (AUDIO, "transcribe"), (VIDEO, "watch")])
async def test_a_lost_medium_is_loaded_again_once(requests: int, kind: MediaKind, call: str) -> None:
    stages = graph(failures={call: [LostMedia("gone")]})
    asked = [Asked(stages, kind, number=number) for number in range(requests)]
    assert len(await asyncio.gather(*(one() for one in asked))) == requests
    assert loads(stages) == stages.calls.count(call) == 2


# --- what the generator looks at ---------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "decoded"), [(IMAGE, Image), (VIDEO, Video)])
async def test_a_tower_of_its_own_is_given_what_was_decoded(
    kind: MediaKind, decoded: type[Image] | type[Video]
) -> None:
    stages = graph(TOWER)
    found = await Asked(stages, kind, args=TOWER)()
    assert isinstance(found.visual, Ready)
    assert isinstance(await found.visual, GeneratorEmbedding)
    (seen,) = stages.seen
    assert isinstance(seen, decoded)
    assert loads(stages) == 1


async def test_a_connector_is_given_what_the_encoder_saw() -> None:
    stages = graph()
    found = await Asked(stages)()
    assert isinstance(found.visual, Ready)
    (seen,) = stages.seen
    assert not isinstance(seen, Image)


@pytest.mark.parametrize("kind", [AUDIO, DOCUMENT])
async def test_nothing_is_seen_of_what_the_tower_is_not_for(kind: MediaKind) -> None:
    stages = graph(TOWER)
    assert (await Asked(stages, kind, args=TOWER)()).visual is None
    assert stages.seen == []


async def test_a_tower_that_hears_is_given_recordings() -> None:
    args = AppArgs(vision=VisionArgs(source="tower", kinds=frozenset({"audio"})))
    stages = graph(args)
    found = await Asked(stages, AUDIO, args=args)()
    assert isinstance(found.visual, Ready)
    assert (await Asked(stages, IMAGE, args=args)()).visual is None
    assert len(stages.seen) == loads(stages) - 1 == 1


async def test_a_generator_that_takes_pixels_gets_those_of_a_known_picture() -> None:
    """They are loaded again, and not given up before the generator has them."""
    gates = {"load messages.0.content.1": asyncio.Event()}
    stages = graph(PIXELS, gates=gates)
    await Asked(stages, args=PIXELS)()
    again = asyncio.ensure_future(Asked(stages, args=PIXELS, number=1)())
    await settle()
    gates["load messages.0.content.1"].set()
    found = await again
    assert found.visual is not None
    assert isinstance(await found.visual, Image)
    assert (loads(stages), stages.calls.count("encode_image")) == (2, 1)
    assert stages.cancelled == []


# --- affinity of answers --------------------------------------------------------------------------------


async def chat(stages: FakeStages, *messages: InputMessage, tenant: str = "ann") -> str:
    """The affinity that the answer was asked for with."""
    ctx = RequestContext(request_id="r", tenant=tenant, deadline_s=time.time() + 30)
    request = ChatRequest(messages=messages, sampling=Sampling())
    async with aclosing(Assistant(stages, AppArgs(), FakeFiles()).chat(ctx, request)) as events:
        async for _ in events:
            pass
    return stages.affinities[-1]


def says(text: str, *media: MediaSource, role: Role = Role.USER) -> InputMessage:
    return InputMessage(role=role, parts=(*media, TextPart(text=text)))


PICTURE = MediaSource(kind=IMAGE, data=b"cat", param="messages.0.content.0")


async def test_turns_about_the_same_picture_prefer_the_same_replica() -> None:
    stages = graph()
    one = await chat(stages, says("What is it?", PICTURE))
    later = says("It is a cat.", role=Role.ASSISTANT), says("What colour?")
    assert one == await chat(stages, says("What is it?", PICTURE), *later) != ""
    moved = replace(PICTURE, param="messages.0.content.1")
    assert one == await chat(stages, says("Something else?", moved))
    assert one != await chat(stages, says("What is it?", replace(PICTURE, data=b"dog")))
    assert one != await chat(stages, says("What is it?", PICTURE), tenant="bob")


async def test_turns_of_a_conversation_prefer_the_same_replica() -> None:
    stages = graph()
    system = says("Be brief.", role=Role.SYSTEM)
    one = await chat(stages, system, says("Hello"))
    later = says("Hello!", role=Role.ASSISTANT), says("Who are you?")
    assert one == await chat(stages, system, says("Hello"), *later) != ""
    assert one != await chat(stages, system, says("Good morning"))
    assert one != await chat(stages, system, says("Hello"), tenant="bob")


# --- hashes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [0, 10, LARGE_BYTES])
async def test_bytes_are_hashed_once(size_bytes: int) -> None:
    data = b"x" * size_bytes
    source = await hashed(MediaSource(kind=IMAGE, data=data, param="p"))
    assert source.sha256 == sha256_of(data)
    assert await hashed(source) is source
