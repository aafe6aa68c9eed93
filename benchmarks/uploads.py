"""Files to upload: no two have the same bytes, so nothing is encoded for one and copied for another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from benchmarks import made_up
from tests import documents, media, unseen

PICTURE_PX = 512
LINES = 12
"""Of a page or chunk of a document: 70 words."""
PAGES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file."""

    name: str
    data: bytes = field(repr=False)


@cache
def _descriptions() -> list[str]:
    return made_up.descriptions()


def sentences(number: int, count: int) -> list[str]:
    """So many, which no other number has, unless there are thousands."""
    found = _descriptions()
    start = number * count
    return [f"There was {found[(start + index) % len(found)]}." for index in range(count)]


def picture(number: int) -> Upload:
    """A drawing (JPEG), or, every other one, a slide with a line of text (PNG)."""
    if number % 2:
        (line,) = sentences(number, 1)
        return Upload(name=f"slide-{number}.png", data=media.picture_with_text(line, size=(960, 540)))
    drawings = _drawings()
    pixels = drawings[number // 2 % len(drawings)].picture.resize((PICTURE_PX, PICTURE_PX))
    pixels.paste((number % 256, number // 256 % 256, 0), (0, 0, 16, 16))
    return Upload(name=f"drawing-{number}.jpg", data=media.encode(pixels, "jpeg"))


@cache
def _drawings() -> list[unseen.Drawing]:
    return unseen.drawings()


def document(number: int) -> Upload:
    """A PDF of PAGES pages, a Word file and a Markdown file in turn, with about as much text."""
    pages = [sentences(number * PAGES + page, LINES) for page in range(PAGES)]
    if number % 3 == 0:
        made = [documents.PdfPage([("Report", 24), *((line, 12) for line in page)]) for page in pages]
        return Upload(name=f"report-{number}.pdf", data=documents.pdf(made))
    if number % 3 == 1:
        paragraphs = ["# Minutes", *(" ".join(page) for page in pages)]
        return Upload(name=f"minutes-{number}.docx", data=documents.docx(paragraphs))
    text = "\n\n".join(f"# Part {index}\n\n{' '.join(page)}" for index, page in enumerate(pages))
    return Upload(name=f"notes-{number}.md", data=text.encode())


def recording(number: int) -> Upload:
    """Some 10 s of a synthetic voice (WAV)."""
    return Upload(name=f"talk-{number}.wav", data=media.speech(" ".join(sentences(number, 4))))


def clip(number: int) -> Upload:
    """Three scenes of two seconds with captions, and a voice (MP4)."""
    lines = sentences(number, 3)
    captions = tuple(zip(("navy", "maroon", "darkgreen"), lines, strict=True))
    return Upload(name=f"clip-{number}.mp4", data=media.captioned_clip(captions, voice=lines[0], seconds=6.0))


KINDS: Mapping[str, Callable[[int], Upload]] = {
    "pictures": picture,
    "documents": document,
    "recordings": recording,
    "clips": clip,
}
"""Makers, by what they make."""

MIX = {"pictures": 4, "documents": 3, "recordings": 2, "clips": 1}
"""Files of each kind in a batch of all kinds."""


class Source:
    """Batches that have nothing in common."""

    def __init__(self) -> None:
        self._next = dict.fromkeys(KINDS, 0)

    def batch(self, kind: str, count: int) -> list[Upload]:
        """New files of one kind."""
        first = self._next[kind]
        self._next[kind] = first + count
        return [KINDS[kind](first + index) for index in range(count)]

    def mix(self) -> list[Upload]:
        """MIX new ones, the kinds taking turns."""
        batches = {kind: self.batch(kind, count) for kind, count in MIX.items()}
        return [
            batch[turn]
            for turn in range(max(MIX.values()))
            for batch in batches.values()
            if turn < len(batch)
        ]
