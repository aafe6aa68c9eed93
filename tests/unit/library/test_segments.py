"""Features become segments."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from multimodal.library.segments import (
    SPEECH_S,
    TEXT_LIMIT,
    copied,
    joined,
    of_pages,
    of_picture,
    of_recording,
    of_video,
    texts_of,
    with_words,
)
from multimodal.retrieval.types import SegmentPart
from multimodal.types import (
    Chunk,
    DocumentFeatures,
    ImageText,
    MediaKind,
    PageFeatures,
    Transcript,
    TranscriptSegment,
    VideoFeatures,
)
from tests.encoder_fakes import LOGIT_SCALE, vector_of
from tests.fakes import line, scene, seen
from tests.library_fakes import a_file

PICTURE, SPEECH, PAGE, TEXT = (
    SegmentPart.PICTURE,
    SegmentPart.SPEECH,
    SegmentPart.PAGE,
    SegmentPart.TEXT,
)
RED = vector_of("red")


def said(text: str, start_s: float, end_s: float) -> TranscriptSegment:
    return TranscriptSegment(text=text, start_s=start_s, end_s=end_s)


def heard(*segments: TranscriptSegment) -> Transcript:
    return Transcript(segments=segments, language="en", duration_s=60.0)


def pages(*found: PageFeatures) -> DocumentFeatures:
    return DocumentFeatures(sha256="d", title="", pages=found, page_count=9)


def page(number: int, *texts: str, look: bool = True) -> PageFeatures:
    chunks = tuple(Chunk(text=text, box=(0.0, 0.0, 1.0, 0.5)) for text in texts)
    return PageFeatures(number=number, chunks=chunks, image=seen(RED) if look else None)


def test_a_picture_is_one_segment_with_the_words_on_it() -> None:
    file = replace(a_file(1, MediaKind.IMAGE), metadata={"topic": "money"})
    (found,) = of_picture(file, seen(RED), ImageText(lines=(line("TOTAL"), line("42 EUR"))))
    assert (found.part, found.kind, found.ordinal) == (PICTURE, MediaKind.IMAGE, 0)
    assert found.text == "TOTAL\n42 EUR"
    assert found.picture is RED
    assert (found.width, found.height, found.logit_scale) == (6, 4, LOGIT_SCALE)
    assert (found.tenant, found.file_id, found.sha256) == (file.tenant, file.id, file.content.sha256)
    assert (found.created_s, found.metadata) == (file.created_s, {"topic": "money"})


def test_a_picture_without_words_or_vector_is_a_segment_too() -> None:
    (found,) = of_picture(a_file(1, MediaKind.IMAGE), seen(None), ImageText(lines=()))
    assert found.text == ""
    assert found.picture is None


def test_a_video_has_its_scenes_and_then_what_is_said() -> None:
    video = VideoFeatures(
        sha256="v",
        duration_s=61.5,
        width=6,
        height=4,
        scenes=(scene(RED, 2), replace(scene(RED, 1, 2.0), text=ImageText(lines=(line("END"),)))),
        transcript=heard(said(" Good morning to all of you. ", 1.0, 3.0)),
    )
    found = of_video(a_file(1, MediaKind.VIDEO), video)
    assert [one.part for one in found] == [PICTURE, PICTURE, SPEECH]
    assert [one.ordinal for one in found] == [0, 1, 2]
    assert [one.text for one in found] == ["", "END", "Good morning to all of you."]
    assert [(one.start_s, one.end_s) for one in found] == [(0.0, 2.0), (2.0, 3.0), (1.0, 3.0)]
    assert [one.frames_s for one in found] == [(0.0, 1.0), (2.0,), ()]
    assert {one.duration_s for one in found} == {61.5}


def test_a_video_without_sound_has_scenes_only() -> None:
    video = VideoFeatures(
        sha256="v", duration_s=1.0, width=6, height=4, scenes=(scene(RED, 1),), transcript=None
    )
    assert [one.part for one in of_video(a_file(1, MediaKind.VIDEO), video)] == [PICTURE]


def test_a_silent_recording_has_no_segments() -> None:
    assert of_recording(a_file(1, MediaKind.AUDIO), heard()) == []
    assert of_recording(a_file(1, MediaKind.AUDIO), heard(said("  ", 0.0, 1.0))) == []


def test_a_page_is_how_it_looks_and_its_chunks() -> None:
    found = of_pages(a_file(1, MediaKind.DOCUMENT), pages(page(4, "one", " ", "two")), 7)
    assert [one.part for one in found] == [PAGE, TEXT, TEXT]
    assert [one.ordinal for one in found] == [7, 8, 9]
    assert {one.page for one in found} == {4}
    assert [one.text for one in found] == ["", "one", "two"]
    assert found[0].picture is RED
    assert found[1].box == (0.0, 0.0, 1.0, 0.5)


def test_a_page_without_a_look_has_only_chunks() -> None:
    found = of_pages(a_file(1, MediaKind.DOCUMENT), pages(page(1, "one", look=False)))
    assert [one.part for one in found] == [TEXT]


def test_ids_follow_from_file_and_ordinal() -> None:
    once, again, other = (
        [one.id for one in of_pages(a_file(number, MediaKind.DOCUMENT), pages(page(1, "a", "b")))]
        for number in (1, 1, 2)
    )
    assert once == again
    assert len({*once, *other}) == 6
    assert str(UUID(once[0])) == once[0]


def test_a_text_is_bounded() -> None:
    (_, found) = of_pages(a_file(1, MediaKind.DOCUMENT), pages(page(1, "x" * (TEXT_LIMIT + 5))))
    assert len(found.text) == TEXT_LIMIT


# --- speech --------------------------------------------------------------------------------------

LONG = "this is a whole sentence"


@pytest.mark.parametrize(
    ("speech", "texts"),
    [
        ([said("Yes.", 0, 1), said(LONG, 1.2, 4)], [f"Yes. {LONG}"]),
        ([said(LONG, 0, 3), said("Right.", 3.5, 4)], [f"{LONG} Right."]),
        ([said("Yes.", 0, 1), said("No.", 1.5, 2), said("Well...", 2, 3)], ["Yes. No. Well..."]),
        ([said("Yes.", 0, 1), said(LONG, 2.0, 4)], ["Yes.", LONG]),
        ([said(LONG, 0, 3), said(LONG, 3, 6)], [LONG, LONG]),
        ([said(LONG, 0, SPEECH_S - 1), said("Yes.", SPEECH_S, SPEECH_S + 1)], [LONG, "Yes."]),
    ],
    ids=["scrap first", "scrap last", "scraps", "pause", "two sentences", "too long"],
)
def test_scraps_of_speech_are_joined_with_their_neighbours(
    speech: list[TranscriptSegment], texts: list[str]
) -> None:
    found = joined(speech)
    assert [one.text for one in found] == texts
    assert found[0].start_s == speech[0].start_s
    assert found[-1].end_s == speech[-1].end_s


# --- words and copies ----------------------------------------------------------------------------


def test_each_text_gets_its_vector() -> None:
    found = of_pages(a_file(1, MediaKind.DOCUMENT), pages(page(1, "one"), page(2, "two")))
    texts = texts_of(found)
    assert texts == ["one", "two"]
    worded = with_words(found, [vector_of(text) for text in texts])
    assert [one.words is None for one in worded] == [True, False, True, False]
    assert worded[3].words is not None
    assert np.array_equal(worded[3].words, vector_of("two"))


def test_a_copy_is_the_other_files_own() -> None:
    file = a_file(1, MediaKind.DOCUMENT, content="same")
    other = replace(a_file(2, MediaKind.DOCUMENT, content="same"), metadata={"topic": "other"})
    found = copied(other, of_pages(file, pages(page(1, "one"))))
    assert found == of_pages(other, pages(page(1, "one")))
