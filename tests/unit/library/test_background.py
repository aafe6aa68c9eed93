"""A long recording in the background has few parts under way."""

from __future__ import annotations

import asyncio

import pytest

from multimodal.errors import StageUnavailable
from multimodal.hearing import hear, transcript_of
from multimodal.library.background import PARTS_UNDER_WAY, PRIORITY, PatientEars
from multimodal.types import RequestContext, SpeechHints, SpeechPlan
from tests.fakes import FakeStages
from tests.library_fakes import sound

CTX = RequestContext(request_id="r", tenant="t", deadline_s=1e12, priority=PRIORITY)
WINDOWS = tuple(((float(i), i + 1.0),) for i in range(6))


def stages() -> FakeStages:
    return FakeStages(plan=SpeechPlan(windows=WINDOWS, language="en", duration_s=6.0))


async def test_few_parts_are_under_way_and_all_are_heard() -> None:
    ears, shares = stages(), list[float]()
    ears.gates = {f"transcribe_part {i}": asyncio.Event() for i in range(6)}
    patient = PatientEars(ears, shares.append)
    whole = asyncio.create_task(transcript_of(hear(patient, CTX, sound(), SpeechHints(), 1)))
    for part in range(6):
        while f"transcribe_part {part}" not in ears.calls:
            await asyncio.sleep(0)
        assert len(ears.calls) - 1 <= part + PARTS_UNDER_WAY
        ears.gates[f"transcribe_part {part}"].set()
    transcript = await whole
    assert [one.text for one in transcript.segments] == [f"speech-from-{i}" for i in range(6)]
    assert shares == pytest.approx([i / 6 for i in range(1, 7)])


async def test_the_first_failure_ends_the_rest() -> None:
    ears = stages()
    ears.gates = {"transcribe_part 1": asyncio.Event()}
    ears.failures = {"transcribe_part 0": [StageUnavailable("Away.")]}
    with pytest.raises(StageUnavailable):
        await transcript_of(hear(PatientEars(ears), CTX, sound(), SpeechHints(), 1))
    while "transcribe_part 1" not in ears.cancelled:
        await asyncio.sleep(0)
    assert "transcribe_part 4" not in ears.calls
