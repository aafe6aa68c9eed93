"""Renders the vector pictures once, into arrays on disk: RGBA, premultiplied, uint8.

Training pictures are kept in two sizes, so that a small object is not sampled from a much larger one, which
would alias. Evaluation pictures are kept larger than the tower's input: they are scaled like a user's.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import numpy as np

from multimodal.errors import ConfigError
from multimodal.training.concepts import Icon
from multimodal.training.shapes import shape_svgs

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

LARGE_PX, SMALL_PX = 96, 48
EVALUATION_PX = 192

Rasterise = Callable[[str, int], "Pixels"]
"""An SVG and a side in pixels to (side, side, 4) uint8, not premultiplied."""


class _Body(TypedDict, total=False):
    body: str
    width: float
    height: float
    left: float
    top: float


class _IconFile(TypedDict, total=False):
    icons: dict[str, _Body]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Atlas:
    """Pictures in both training sizes; the last ones are the plain shapes, white."""

    large: Pixels
    """(n, 96, 96, 4) uint8, premultiplied."""
    small: Pixels
    """(n, 48, 48, 4) uint8, premultiplied."""
    shapes_from: int
    """Index of the first shape."""


def resvg(svg: str, side_px: int) -> Pixels:
    """Render with resvg. ConfigError where the package `resvg-py` is missing."""
    try:
        import resvg_py  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ConfigError('Rendering needs resvg-py: install the extra "training".') from error
    import PIL.Image

    png = resvg_py.svg_to_bytes(svg_string=svg, width=side_px, height=side_px, skip_system_fonts=True)
    with PIL.Image.open(io.BytesIO(bytes(png))) as image:
        pixels = np.asarray(image.convert("RGBA"))
    if pixels.shape[:2] == (side_px, side_px):
        return pixels
    square = np.zeros((side_px, side_px, 4), np.uint8)  # pictures that are not square are centred
    height, width = min(side_px, pixels.shape[0]), min(side_px, pixels.shape[1])
    top, left = (side_px - height) // 2, (side_px - width) // 2
    square[top : top + height, left : left + width] = pixels[:height, :width]
    return square


def premultiply(pixels: Pixels) -> Pixels:
    """(..., 4) with colours scaled by alpha, rounded."""
    alpha = pixels[..., 3:].astype(np.uint16)
    colours = (pixels[..., :3] * alpha + 127) // 255
    return np.concatenate([colours.astype(np.uint8), pixels[..., 3:]], axis=-1)


def halve(pixels: Pixels) -> Pixels:
    """(side, side, 4) to half the side, by means of four."""
    side = pixels.shape[0] // 2
    means: npt.NDArray[np.float64] = pixels.reshape(side, 2, side, 2, 4).mean(axis=(1, 3))
    return means.round().astype(np.uint8)


def svg_of(body: _Body, width: float, height: float) -> str:
    """A whole SVG document around an icon's body."""
    box = (
        body.get("left", 0),
        body.get("top", 0),
        body.get("width", width),
        body.get("height", height),
    )
    view = " ".join(str(value) for value in box)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{view}">{body["body"]}</svg>'
    )


def icon_svgs(root: Path, icons: Sequence[Icon]) -> list[str]:
    """SVG documents of pictures from the fetched packages below `root`, in order."""
    files: dict[str, _IconFile] = {}
    svgs = []
    for icon in icons:
        if icon.set_name not in files:
            text = (root / icon.set_name / "icons.json").read_text(encoding="utf-8")
            files[icon.set_name] = cast("_IconFile", json.loads(text))
        file = files[icon.set_name]
        width, height = file.get("width", 16), file.get("height", 16)
        svgs.append(svg_of(file["icons"][icon.name], width, height))
    return svgs


def render_training(root: Path, folder: Path, icons: Sequence[Icon], rasterise: Rasterise = resvg) -> Atlas:
    """Both sizes of all pictures, then of the shapes; rendered unless the files are there."""
    svgs = [*icon_svgs(root, icons), *shape_svgs()]
    paths = folder / "large.npy", folder / "small.npy"
    if not all(path.is_file() for path in paths):
        large = np.stack([premultiply(rasterise(svg, LARGE_PX)) for svg in svgs])
        _save(paths[0], large)
        _save(paths[1], np.stack([halve(one) for one in large]))
    loaded = [cast("Pixels", np.load(path, mmap_mode="r")) for path in paths]
    if any(len(one) != len(svgs) for one in loaded):
        raise ConfigError("The rendered pictures are of another version. Remove the folder of renders.")
    return Atlas(loaded[0], loaded[1], len(icons))


def render_evaluation(root: Path, path: Path, icons: Sequence[Icon], rasterise: Rasterise = resvg) -> Pixels:
    """(n, 192, 192, 4) uint8, premultiplied; rendered unless the file is there."""
    if not path.is_file():
        svgs = icon_svgs(root, icons)
        _save(path, np.stack([premultiply(rasterise(svg, EVALUATION_PX)) for svg in svgs]))
    return cast("Pixels", np.load(path, mmap_mode="r"))


def _save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, pixels)
    os.replace(partial, path)
