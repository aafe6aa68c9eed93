"""200 pictures in a style that the image tower was not trained on: see `fixtures/fluent-emoji-flat`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent / "fixtures" / "fluent-emoji-flat"
SIDE_PX, IN_A_ROW = 96, 20


@dataclass(frozen=True, slots=True)
class Drawing:
    """One of them."""

    names: tuple[str, ...]
    """Its label first, then others that icon sets have for it."""
    picture: Image.Image
    """SIDE_PX squared, RGB, on white."""


def drawings() -> list[Drawing]:
    """All of them, in alphabetical order."""
    lines = (FOLDER / "names.txt").read_text(encoding="utf-8").splitlines()
    with Image.open(FOLDER / "pictures.webp") as sheet:
        whole = sheet.convert("RGBA")
    ground = Image.new("RGBA", whole.size, "white")
    ground.alpha_composite(whole)
    flat = ground.convert("RGB")
    return [Drawing(tuple(line.split("|")), flat.crop(_box(number))) for number, line in enumerate(lines)]


def drawing(name: str) -> Image.Image:
    """The one with that label."""
    return next(one.picture for one in drawings() if one.names[0] == name)


def _box(number: int) -> tuple[int, int, int, int]:
    left, top = number % IN_A_ROW * SIDE_PX, number // IN_A_ROW * SIDE_PX
    return left, top, left + SIDE_PX, top + SIDE_PX
