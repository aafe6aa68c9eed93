"""What is told of segments that were found, and what is cited."""

from __future__ import annotations

from dataclasses import replace

import pytest

from multimodal.generation.sources import PARAM, Source, in_prompt, of_media, source_of
from multimodal.library.records import FileRecord, SearchResult
from multimodal.retrieval.snippet import Snippets
from multimodal.retrieval.types import Hit, Segment, SegmentPart
from multimodal.types import GeneratorEmbedding, MediaKind, Ready, Shortened
from tests.library_fakes import a_file

FILE = replace(a_file(1, MediaKind.DOCUMENT), filename="report.pdf")
CHUNK = Segment(
    id="s1",
    tenant="ann",
    file_id=FILE.id,
    sha256="0",
    kind=MediaKind.DOCUMENT,
    part=SegmentPart.TEXT,
    ordinal=3,
    text="Churn fell to four percent.",
    page=7,
    box=(0.1, 0.2, 0.3, 0.4),
)


def source(segment: Segment, number: int = 1, file: FileRecord = FILE, visual: bool = False) -> Source:
    hit = Hit(segment=segment, score=0.03, similarity=0.6)
    seen = Ready(GeneratorEmbedding(rows=None)) if visual else None  # type: ignore[arg-type]
    return source_of(number, SearchResult(hit=hit, file=file), Snippets("churn"), seen)


def test_a_chunk_is_told_as_it_is_and_cited_with_its_place() -> None:
    found = source(CHUNK)
    assert found.part.lines == ("Churn fell to four percent.",)
    assert found.part.title == "Source 1, report.pdf, page 7"
    cited = found.citation
    assert (cited.number, cited.file_id, cited.filename) == (1, FILE.id, "report.pdf")
    assert (cited.page, cited.box, cited.similarity, cited.ordinal) == (7, CHUNK.box, 0.6, 3)
    assert cited.snippet == "Churn fell to four percent."


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"part": SegmentPart.SPEECH, "start_s": 3.0, "end_s": 8.5, "page": None},
            'From 3 to 8.5 seconds, the speaker says "Churn fell to four percent.".',
        ),
        (
            {"part": SegmentPart.PICTURE, "start_s": 0.0, "end_s": 2.0, "text": 'say "hi"', "page": None},
            "From 0 to 2 seconds, the text in the picture says \"say 'hi'\".",
        ),
        (
            {"part": SegmentPart.PICTURE, "page": None},
            'The text in the picture says "Churn fell to four percent.".',
        ),
        ({"part": SegmentPart.PICTURE, "text": "", "page": None}, "A picture."),
        (
            {"part": SegmentPart.PICTURE, "text": "", "start_s": 1.0, "end_s": 2.0, "page": None},
            "From 1 to 2 seconds, this picture is shown.",
        ),
    ],
)
def test_what_is_said_and_seen_is_told_with_its_time(changes: dict[str, object], line: str) -> None:
    assert source(replace(CHUNK, **changes)).part.lines == (line,)  # type: ignore[arg-type]


def test_a_long_chunk_is_broken_into_lines_that_can_be_dropped_one_by_one() -> None:
    words = " ".join(f"word{number}" for number in range(200))
    lines = source(replace(CHUNK, text=words)).part.lines
    assert len(lines) > 3
    assert " ".join(lines) == words
    assert all(len(line) <= 300 for line in lines)


def test_only_what_stood_in_the_prompt_is_cited_the_most_relevant_first() -> None:
    picture = replace(CHUNK, id="s3", part=SegmentPart.PICTURE, text="")
    sources = [source(CHUNK, 2), source(replace(CHUNK, id="s2"), 1), source(picture, 3, visual=True)]
    shortened = [
        Shortened(param=f"{PARAM}.1", kept_tokens=0, dropped_tokens=9),
        Shortened(param=f"{PARAM}.2", kept_tokens=4, dropped_tokens=5),
        # Its words are gone, but what is to be seen of it is not.
        Shortened(param=f"{PARAM}.3", kept_tokens=0, dropped_tokens=2),
    ]
    assert [one.number for one in in_prompt(sources, shortened).citations] == [2, 3]


def test_sources_are_no_media_of_the_client() -> None:
    mine = Shortened(param="messages.0.content.0", kept_tokens=1, dropped_tokens=1)
    assert of_media([mine, Shortened(param=f"{PARAM}.1", kept_tokens=0, dropped_tokens=9)]) == (mine,)
