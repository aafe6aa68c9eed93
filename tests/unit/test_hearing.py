"""Recordings over ears whose answers come when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from multimodal.errors import MultimodalError, StageUnavailable
from multimodal.hearing import hear, join, transcript_of
from multimodal.identity import FeatureKey
from multimodal.stages import Ears, Sound
from multimodal.types import (
    Deferred,
    RequestContext,
    Spans,
    SpeechHints,
    SpeechPlan,
    Transcript,
    TranscriptPart,
    TranscriptSegment,
)

CTX = RequestContext(request_id="r", tenant="t", deadline_s=2e9)
HINTS = SpeechHints(language="fr", prompt="Zoé")
RECORDING_S = 90.0


def part(language: str, *times_s: tuple[float, float]) -> Transcript:
    said = tuple(TranscriptSegment(text=f"from {start}", start_s=start, end_s=end) for start, end in times_s)
    return Transcript(segments=said, language=language, duration_s=30.0)


def plan(*starts_s: float) -> SpeechPlan:
    """One second of speech in each window."""
    windows = tuple(((start, start + 1.0),) for start in starts_s)
    return SpeechPlan(windows=windows, language="und", duration_s=RECORDING_S)


class FakeEars:
    """Answers the first call at once, and each part when `answer` is called for it."""

    def __init__(self, found: Transcript | SpeechPlan) -> None:
        self.found = found
        self.seen: list[tuple[Sound, SpeechHints]] = []
        self.asked: list[tuple[Spans, ...]] = []
        self.parts: list[asyncio.Future[Transcript]] = []
        self.abandoned: list[Deferred[object]] = []

    def transcribe(
        self, ctx: RequestContext, audio: Sound, hints: SpeechHints, key: FeatureKey | None = None
    ) -> Deferred[Transcript | SpeechPlan]:
        self.seen.append((audio, hints))
        found: asyncio.Future[Transcript | SpeechPlan] = asyncio.Future()
        found.set_result(self.found)
        return found

    def transcribe_part(
        self,
        ctx: RequestContext,
        audio: Sound,
        windows: Sequence[Spans],
        hints: SpeechHints,
        key: FeatureKey | None = None,
    ) -> Deferred[Transcript]:
        self.seen.append((audio, hints))
        self.asked.append(tuple(windows))
        self.parts.append(asyncio.Future())
        return self.parts[-1]

    def abandon(self, *results: Deferred[object]) -> None:
        self.abandoned += results

    def answer(self, number: int) -> None:
        times = [(start, end) for spans in self.asked[number] for start, end in spans]
        self.parts[number].set_result(part("fr", *times))


@pytest.fixture
async def audio() -> Sound:
    """A recording that never arrives: only the ears may wait for it."""
    return asyncio.Future()


async def until_asked(ears: FakeEars, parts: int) -> None:
    while len(ears.asked) < parts:
        await asyncio.sleep(0)


async def heard(ears: FakeEars, audio: Sound) -> list[TranscriptPart | Transcript]:
    return [piece async for piece in hear(ears, CTX, audio, HINTS, 2)]


def starts(piece: TranscriptPart | Transcript) -> list[float]:
    return [segment.start_s for segment in piece.segments]


async def test_a_short_recording_is_one_part_and_the_whole(audio: Sound) -> None:
    whole = part("en", (0, 1), (2, 3))
    ears = FakeEars(whole)
    assert await heard(ears, audio) == [TranscriptPart(segments=whole.segments), whole]
    assert ears.asked == []


async def test_all_parts_of_a_long_recording_are_in_work_at_once(audio: Sound) -> None:
    ears = FakeEars(plan(0, 10, 20, 30, 40))
    hearing = asyncio.ensure_future(heard(ears, audio))
    await until_asked(ears, 3)
    spans = plan(0, 10, 20, 30, 40).windows
    assert ears.asked == [spans[:2], spans[2:4], spans[4:]]
    assert not any(call.done() for call in ears.parts)
    for number in range(3):
        ears.answer(number)
    await hearing


async def test_parts_come_in_time_order_whichever_is_done_first(audio: Sound) -> None:
    ears = FakeEars(plan(0, 10, 20, 30, 40))
    hearing = asyncio.ensure_future(heard(ears, audio))
    await until_asked(ears, 3)
    for number in (2, 0, 1):
        ears.answer(number)
        await asyncio.sleep(0)
    *parts, whole = await hearing
    assert [starts(piece) for piece in parts] == [[0, 10], [20, 30], [40]]
    assert starts(whole) == [0, 10, 20, 30, 40]
    assert isinstance(whole, Transcript)
    assert (whole.language, whole.duration_s) == ("fr", RECORDING_S)
    assert ears.abandoned == []


async def test_a_part_is_told_before_the_next_is_there(audio: Sound) -> None:
    ears = FakeEars(plan(0, 10, 20))
    async with aclosing(hear(ears, CTX, audio, HINTS, 1)) as pieces:
        first = asyncio.ensure_future(anext(pieces))
        await until_asked(ears, 3)
        ears.answer(0)
        assert starts(await first) == [0]


async def test_every_call_gets_the_recording_by_reference_and_what_the_client_said(
    audio: Sound,
) -> None:
    ears = FakeEars(plan(0, 10, 20))
    hearing = asyncio.ensure_future(heard(ears, audio))
    await until_asked(ears, 2)
    assert ears.seen == [(audio, HINTS)] * 3
    ears.answer(0)
    ears.answer(1)
    await hearing


async def test_closing_abandons_the_parts_that_are_not_there(audio: Sound) -> None:
    ears = FakeEars(plan(0, 10, 20))
    async with aclosing(hear(ears, CTX, audio, HINTS, 1)) as pieces:
        first = asyncio.ensure_future(anext(pieces))
        await until_asked(ears, 3)
        ears.answer(0)
        await first
    assert ears.abandoned == ears.parts[1:]


async def test_giving_up_while_nothing_is_there_abandons_all_parts(audio: Sound) -> None:
    ears = FakeEars(plan(0, 10, 20))
    hearing = asyncio.ensure_future(heard(ears, audio))
    await until_asked(ears, 2)
    hearing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hearing
    assert ears.abandoned == ears.parts


async def test_a_part_that_fails_fails_the_recording_and_abandons_the_rest(audio: Sound) -> None:
    ears = FakeEars(plan(0, 10, 20, 30, 40))
    hearing = asyncio.ensure_future(heard(ears, audio))
    await until_asked(ears, 3)
    ears.answer(0)
    ears.parts[1].set_exception(StageUnavailable.restarting("AudioEncoder"))
    with pytest.raises(StageUnavailable):
        await hearing
    assert ears.parts[2] in ears.abandoned
    assert ears.parts[0] not in ears.abandoned


async def test_a_later_part_that_fails_is_not_waited_for(audio: Sound) -> None:
    ears = FakeEars(plan(0, 10, 20, 30, 40))
    hearing = asyncio.ensure_future(heard(ears, audio))
    await until_asked(ears, 3)
    ears.parts[2].set_exception(StageUnavailable.restarting("AudioEncoder"))
    with pytest.raises(StageUnavailable):
        await hearing
    assert ears.parts[0] in ears.abandoned


def test_the_fake_is_ears() -> None:
    ears: Ears = FakeEars(plan())
    assert ears


# --- the whole ---------------------------------------------------------------------------------


async def pieces_of(
    *pieces: TranscriptPart | Transcript,
) -> AsyncGenerator[TranscriptPart | Transcript, None]:
    for piece in pieces:
        yield piece


async def test_who_wants_the_whole_is_told_of_each_part() -> None:
    first, second, whole = part("en", (0, 1)), part("en", (2, 3)), part("en", (0, 1), (2, 3))
    parts = [TranscriptPart(segments=piece.segments) for piece in (first, second)]
    told: list[tuple[int, TranscriptPart]] = []
    assert await transcript_of(pieces_of(*parts, whole), lambda *part: told.append(part)) == whole
    assert told == [(0, parts[0]), (1, parts[1])]


async def test_a_transcript_that_never_comes_is_an_error() -> None:
    with pytest.raises(MultimodalError, match="ended"):
        await transcript_of(pieces_of(TranscriptPart(segments=())))


# --- joining -----------------------------------------------------------------------------------


def test_joining_puts_segments_in_time_order_each_once() -> None:
    late, early = part("en", (40, 41), (50, 51)), part("en", (1, 2))
    whole = join(plan(), [late, early, late])
    assert starts(whole) == [1, 40, 50]
    assert whole.duration_s == RECORDING_S


def test_the_language_is_that_of_most_of_the_speech() -> None:
    parts = [part("fr", (0, 5)), part("de", (10, 20)), part("fr", (30, 34)), part("en")]
    assert join(plan(), parts).language == "de"


@pytest.mark.parametrize("parts", [[], [part("ja")]])
def test_where_nobody_speaks_the_language_is_that_of_the_plan(parts: list[Transcript]) -> None:
    assert join(plan(), parts) == Transcript(segments=(), language="und", duration_s=RECORDING_S)
