"""Puts segments that were found into words, for the prompt, and says which of them stood in it.

The most relevant source comes last: small models answer with what they read last, and what does not fit is
dropped from the first. The wording was chosen by reading the embedded model's answers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from multimodal.generation.describe import LINE_CHARACTERS
from multimodal.library.records import SearchResult
from multimodal.retrieval.snippet import Snippets
from multimodal.retrieval.types import Segment, SegmentPart
from multimodal.types import Citation, Deferred, MediaKind, MediaPart, Shortened, Sources, Visual

PARAM = "retrieval"

# --- wording -------------------------------------------------------------------------------------

NOTHING_TITLE = "Search result"
NOTHING_FOUND = (
    "The answer to this question is not in the library. Nothing about it was found in the library."
)


def _title(number: int, filename: str, segment: Segment) -> str:
    place = f", page {segment.page}" if segment.page is not None else ""
    return f"Source {number}, {filename}{place}"


def _lines(segment: Segment) -> list[str]:
    text = " ".join(segment.text.split())
    when = ""
    if segment.start_s is not None and segment.end_s is not None:
        when = f"From {_number(segment.start_s)} to {_number(segment.end_s)} seconds, "
    if not text:
        return [f"{when}this picture is shown.".capitalize()] if when else ["A picture."]
    if segment.part is SegmentPart.SPEECH:
        text = f'{when}the speaker says "{_inner(text)}".'
    elif segment.part is SegmentPart.PICTURE:
        text = f'{when}{"the" if when else "The"} text in the picture says "{_inner(text)}".'
    return textwrap.wrap(text, LINE_CHARACTERS, break_long_words=False, break_on_hyphens=False)


def _inner(text: str) -> str:
    return text.replace('"', "'")


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# --- parts ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A segment as the generator is told of it."""

    part: MediaPart
    citation: Citation
    visual: Deferred[Visual] | None = None


def source_of(
    number: int, result: SearchResult, snippets: Snippets, visual: Deferred[Visual] | None
) -> Source:
    """The part for the prompt and the citation of one result; `number` counts from 1.

    `snippets` are for the words of the question: they show where those stand.
    """
    segment = result.hit.segment
    lines = tuple(_lines(segment))
    part = MediaPart(
        kind=segment.kind,
        param=f"{PARAM}.{number}",
        lines=lines,
        visual_after=len(lines),
        title=_title(number, result.file.filename, segment),
    )
    return Source(part=part, citation=_citation(number, result, snippets), visual=visual)


def _citation(number: int, result: SearchResult, snippets: Snippets) -> Citation:
    segment = result.hit.segment
    return Citation(
        number=number,
        file_id=segment.file_id,
        filename=result.file.filename,
        kind=segment.kind,
        segment_id=segment.id,
        ordinal=segment.ordinal,
        similarity=result.hit.similarity,
        score=result.hit.score,
        snippet=snippets(segment.text),
        start_s=segment.start_s,
        end_s=segment.end_s,
        page=segment.page,
        box=segment.box,
    )


NOTHING = MediaPart(kind=MediaKind.DOCUMENT, param=f"{PARAM}.0", lines=(NOTHING_FOUND,), title=NOTHING_TITLE)
"""What the generator is told where nothing relevant was found."""


def in_prompt(sources: Sequence[Source], shortened: Iterable[Shortened]) -> Sources:
    """The sources of which something was left in the prompt."""
    dropped = {one.param for one in shortened if one.kept_tokens == 0}
    kept = [one.citation for one in sources if one.part.param not in dropped or one.visual is not None]
    return Sources(citations=tuple(sorted(kept, key=lambda one: one.number)))


def of_media(shortened: Iterable[Shortened]) -> tuple[Shortened, ...]:
    """Sources are no media of the client: their shortening shows in the citations."""
    return tuple(one for one in shortened if not one.param.startswith(f"{PARAM}."))
