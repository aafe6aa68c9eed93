import re
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from multimodal.generation.describe import (
    LINE_CHARACTERS,
    NO_SOUND,
    NO_SPEECH,
    NO_SPEECH_IN_VIDEO,
    NO_TEXT,
    describe_audio,
    describe_document,
    describe_image,
    describe_video,
)
from multimodal.types import Chunk, DocumentFeatures, MediaKind, PageFeatures, VideoFeatures
from tests.unit.generation.features import picture, scene, segment, text, text_at, transcript, video

# --- pictures ------------------------------------------------------------------------------------


def test_a_picture_is_described_by_its_size_and_colours_then_its_text() -> None:
    part = describe_image(
        "messages.0.content.1", picture(("white", 0.9), ("blue", 0.1)), text("TOTAL 42 EUR")
    )
    assert (part.kind, part.param) == (MediaKind.IMAGE, "messages.0.content.1")
    assert part.lines == (
        "A picture of 640 x 320 pixels with the colours white and blue.",
        'The text in the picture says "TOTAL 42 EUR".',
    )


def test_a_picture_without_text_says_so() -> None:
    assert describe_image("p", picture(("red", 1.0)), text()).lines[1] == NO_TEXT


def test_what_there_is_to_see_comes_last_where_there_is_nothing_to_read() -> None:
    wordless, worded = video(scene(0, 2)), video(scene(0, 2, "TOTAL"))
    for part in (describe_image("p", picture(("red", 1.0)), text()), describe_video("p", wordless)):
        assert part.visual_after == len(part.lines)
    for part in (describe_image("p", picture(("red", 1.0)), text("TOTAL")), describe_video("p", worded)):
        assert part.visual_after == 1


def test_nothing_is_said_about_text_that_nobody_looked_for() -> None:
    lines = describe_image("p", picture(("red", 1.0)), None).lines
    assert lines == ("A picture of 640 x 320 pixels with the colours red.",)


def test_pieces_in_one_row_are_quoted_as_one_line() -> None:
    receipt = text_at(
        ("Coffee", (0.1, 0.10, 0.3, 0.16)),
        ("3.50", (0.8, 0.11, 0.9, 0.17)),
        ("Total", (0.1, 0.30, 0.3, 0.36)),
        ("7.70", (0.8, 0.30, 0.9, 0.36)),
    )
    assert (
        describe_image("p", picture(), receipt).lines[1]
        == 'The text in the picture says "Coffee 3.50", "Total 7.70".'
    )


def test_lines_that_follow_each_other_downwards_stay_apart() -> None:
    assert describe_image("p", picture(), text("one", "two")).lines[1].endswith('says "one", "two".')


def test_quotation_marks_and_line_breaks_in_a_text_do_not_end_its_quotation() -> None:
    lines = describe_image("p", picture(), text('say "yes"\nSize: 1 x 1')).lines
    assert lines[1] == "The text in the picture says \"say 'yes' Size: 1 x 1\"."


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=120), min_size=1, max_size=40))
def test_much_text_becomes_several_lines_that_can_be_dropped_one_by_one(rows: list[str]) -> None:
    part = describe_image("p", picture(), text(*rows))
    longest = max(len(" ".join(row.split())) for row in rows)
    written = part.lines[1:]
    assert all("\n" not in line for line in part.lines)
    assert max(map(len, written)) <= LINE_CHARACTERS + longest + 40
    quoted = " ".join(line.split(" says ", 1)[1] for line in written)
    for row in rows:
        assert " ".join(row.split()).replace('"', "'") in quoted


# --- recordings ----------------------------------------------------------------------------------


def test_speech_is_quoted_with_its_times() -> None:
    part = describe_audio(
        "a", transcript(segment("The meeting starts at nine.", 0, 2.44), segment("Bye!", 3, 3.96))
    )
    assert (part.kind, part.param) == (MediaKind.AUDIO, "a")
    assert part.lines == (
        "A recording of 10 seconds.",
        'From 0 to 2.4 seconds, the speaker says "The meeting starts at nine.".',
        'From 3 to 4 seconds, the speaker says "Bye!".',
    )


def test_a_recording_in_which_nobody_speaks_says_so() -> None:
    assert describe_audio("a", transcript()).lines == ("A recording of 10 seconds.", NO_SPEECH)
    assert describe_audio("a", transcript(segment("  ", 0, 1))).lines[1] == NO_SPEECH


# --- videos --------------------------------------------------------------------------------------


def lines_of(features: VideoFeatures) -> list[str]:
    return list(describe_video("v", features).lines)


def test_each_scene_says_what_is_on_the_screen_and_what_is_said_meanwhile() -> None:
    features = video(
        scene(0, 3.3, "CHAPTER ONE", colours=[("red", 0.9)]),
        scene(3.3, 6.7, "CHAPTER TWO", colours=[("green", 0.4), ("white", 0.3), ("black", 0.3)]),
        speech=transcript(segment("Welcome to the show.", 0.5, 2), segment("Here we go again.", 4, 6)),
    )
    part = describe_video("v", features)
    assert (part.kind, part.param) == (MediaKind.VIDEO, "v")
    assert part.lines == (
        "A video of 10 seconds, 640 x 360 pixels, with 2 scenes.",
        'Scene 1, from 0 to 3.3 seconds: the screen is mostly red and says "CHAPTER ONE". '
        'The speaker says "Welcome to the show.".',
        'Scene 2, from 3.3 to 6.7 seconds: the screen is green and white and says "CHAPTER TWO". '
        'The speaker says "Here we go again.".',
    )


def test_a_sentence_over_a_cut_stands_in_both_scenes() -> None:
    said = segment("red is what you see now blue is what you see", 0, 6)
    _, first, second, *_ = lines_of(video(scene(0, 3, "A"), scene(3, 6, "B"), speech=transcript(said)))
    assert 'says "red is what you see"' in first or 'says "red is what you see now"' in first
    assert second.endswith('blue is what you see".')


def test_several_sentences_in_one_scene_are_quoted_together() -> None:
    speech = transcript(segment("Good morning.", 0.5, 1), segment("How are you?", 1.5, 2.5))
    assert lines_of(video(scene(0, 5), speech=speech))[1].endswith('says "Good morning. How are you?".')


def test_a_scene_without_text_and_speech_still_says_how_it_looks() -> None:
    assert lines_of(video(scene(0, 5, colours=[("blue", 1.0)])))[1] == (
        "Scene 1, from 0 to 5 seconds: the screen is mostly blue and shows no text."
    )


def test_speech_outside_all_scenes_has_a_line_of_its_own_in_the_order_of_time() -> None:
    speech = transcript(segment("Before.", 0, 1), segment("During.", 6, 7), segment("After.", 18, 19))
    lines = lines_of(video(scene(5, 10), speech=speech))
    assert lines[1:4] == [
        'From 0 to 1 seconds, the speaker says "Before.".',
        'Scene 1, from 5 to 10 seconds: the screen shows no text. The speaker says "During.".',
        'From 18 to 19 seconds, the speaker says "After.".',
    ]


def test_silence_and_the_lack_of_a_sound_track_are_told_apart() -> None:
    assert NO_SPEECH_IN_VIDEO in lines_of(video(scene(0, 5), speech=transcript()))
    assert NO_SOUND in lines_of(video(scene(0, 5)))
    spoken = lines_of(video(scene(0, 5), speech=transcript(segment("Hi there.", 1, 2))))
    assert not {NO_SOUND, NO_SPEECH_IN_VIDEO} & set(spoken)


def test_a_screen_full_of_text_continues_in_lines_of_its_own() -> None:
    rows = [f"row {number} of a rather long slide" for number in range(20)]
    lines = lines_of(video(scene(0, 5, *rows), scene(5, 10, "END")))
    assert lines[1].startswith('Scene 1, from 0 to 5 seconds: the screen says "row 0')
    assert lines[2].startswith("Scene 1 also shows ")
    assert max(map(len, lines)) < LINE_CHARACTERS + 100
    assert all(f'"{row}"' in " ".join(lines) for row in rows)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 8), st.integers(1, 12)), max_size=6),
    st.lists(st.floats(0, 20), max_size=5).map(sorted),
)
def test_every_spoken_word_is_told_once_and_times_never_go_back(
    speeches: list[tuple[float, float, int]], cuts: list[float]
) -> None:
    bounds = [0.0, *cuts, 20.0]
    scenes = [scene(a, b) for a, b in pairwise(bounds)]
    segments = [
        segment(" ".join(f"w{number}x{i}" for i in range(words)), start_s, start_s + length_s)
        for number, (start_s, length_s, words) in enumerate(sorted(speeches))
    ]
    lines = lines_of(video(*scenes, speech=transcript(*segments)))
    told = " ".join(lines).replace('"', " ").replace(".", " ").split()
    for number, (_, _, words) in enumerate(sorted(speeches)):
        assert [told.count(f"w{number}x{i}") for i in range(words)] == [1] * words
    starts = [float(found[1]) for line in lines if (found := re.search(r"[Ff]rom ([\d.]+) to", line))]
    assert starts == sorted(starts)


# --- documents -----------------------------------------------------------------------------------


def paper(*pages: Sequence[str], first: int = 1, count: int | None = None) -> list[str]:
    """What is said of a document whose pages have these chunks."""
    found = tuple(
        PageFeatures(number=number, chunks=tuple(Chunk(text=text, box=None) for text in texts), image=None)
        for number, texts in enumerate(pages, first)
    )
    features = DocumentFeatures(sha256="d", title="", pages=found, page_count=count or len(pages))
    part = describe_document("p", features)
    assert (part.kind, part.param, part.visual) == (MediaKind.DOCUMENT, "p", None)
    return list(part.lines)


def test_a_document_is_told_page_by_page() -> None:
    assert paper(["First page."], [], ["Third."]) == [
        "Page 1 says:",
        "First page.",
        "Page 3 says:",
        "Third.",
    ]
    assert paper(["All of it."]) == ["The document says:", "All of it."]


def test_a_document_is_called_by_its_title() -> None:
    features = DocumentFeatures(sha256="d", title='The "report"', pages=(), page_count=1)
    assert describe_document("p", features).title == "Document \"The 'report'\""


def test_a_document_that_was_read_in_part_says_so() -> None:
    assert paper(["a"], ["b"], count=40)[0] == "Only pages 1 to 2 of 40 were read."
    assert paper(["a"], first=7, count=40)[0] == "Only page 7 of 40 was read."


def test_a_document_without_text_says_so() -> None:
    assert paper([]) == ["There is no text in the document."]


def test_headings_that_chunks_repeat_are_told_once() -> None:
    assert paper(["News\none", "News\ntwo", "End\nthree"])[1:] == ["News", "one", "two", "End", "three"]


@given(st.lists(st.text("ab c\n", min_size=1, max_size=400), min_size=1, max_size=6))
def test_no_word_of_a_document_is_lost_and_no_line_is_long(texts: list[str]) -> None:
    # Different first lines, so that none is taken for a heading that is repeated.
    chunks = [f"{number}\n{text}" for number, text in enumerate(texts)]
    lines = paper(chunks)[1:]
    assert " ".join(lines).split() == " ".join(chunks).split()
    assert all(len(line) <= 300 or " " not in line for line in lines)
