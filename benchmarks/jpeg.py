"""Photographs of 12 megapixels, decoded as MediaLoader does and made small, against Pillow's way."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, TypeAlias

import numpy as np
import PIL.Image
import typer
from numpy.typing import NDArray

from benchmarks import limits
from benchmarks.common import median, run
from benchmarks.findings import MIN_PAIRS, QUICK_PAIRS, Check, Finding, Target, check, console, publish
from benchmarks.in_process import Measured, take_turns
from multimodal.config import ImageArgs, Limits, LoaderArgs, home
from multimodal.media.decoder import decode
from multimodal.models.refs import resolve
from multimodal.types import Image, MediaKind, MediaSource

Pixels: TypeAlias = NDArray[np.uint8]

SIZE_PX = (4000, 3000)
SMALL_PX = (224, 168)
"""What is made of it: 224 is what towers take."""
QUALITIES = {"usual": 85, "large file": 92}
"""JPEG qualities: the larger the file, the more of the time goes into its Huffman codes, which all read."""
ONLY_SMALL_PX = 2 * SMALL_PX[0]
"""`loader.image_max_side_px` where nobody reads the picture: twice what the tower takes."""

REPEATS = 10
QUICK_REPEATS = 2

FASTER = Target(at_least=3.0)
SAME_PIXELS = Target(at_least=0.995)

REQUEST, SMALL, PILLOW, LEAST = "ours, a request", "ours, only small", "Pillow", "least"
"""LEAST: libjpeg at an eighth of the size, where little more than the Huffman codes is decoded."""


def photograph(seed: int = 0, size: tuple[int, int] = SIZE_PX) -> PIL.Image.Image:
    """Soft shapes of all sizes and the noise of a sensor."""
    rng = np.random.default_rng(seed)
    width, height = size
    values = np.zeros((height, width, 3), np.float32)
    for parts in (8, 32, 128, 512, 1024):
        shape = max(2, height * parts // 4096), max(2, width * parts // 4096), 3
        coarse = PIL.Image.fromarray(rng.integers(0, 256, shape, np.uint8))
        values += np.asarray(coarse.resize(size, PIL.Image.Resampling.BICUBIC), np.float32) / parts**0.6
    values = (values - values.min()) * (255 / (values.max() - values.min()))
    values += rng.normal(0, 6, (height, width, 1)).astype(np.float32)
    return PIL.Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def encoded(picture: PIL.Image.Image, quality: int) -> bytes:
    """A JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", quality=quality)
    return buffer.getvalue()


def ours(data: bytes, max_side_px: int) -> Image:
    """As a worker of MediaLoader does: hash, recognise, check, decode."""
    source = MediaSource(kind=MediaKind.IMAGE, data=data, param="picture")
    image = decode(source, Limits(), LoaderArgs(image_max_side_px=max_side_px))
    assert isinstance(image, Image)
    return image


def shrunk(image: Image) -> Pixels:
    """To SMALL_PX, as ImageEncoder does it."""
    import torch

    pixels = torch.from_dlpack(image.pixels).permute(2, 0, 1)[None]  # type: ignore[attr-defined]
    small = torch.nn.functional.interpolate(pixels, SMALL_PX[::-1], mode="bicubic", antialias=True)
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())


def pillow(data: bytes) -> Pixels:
    """The plain way: every pixel is decoded, then shrunk."""
    with PIL.Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB").resize(SMALL_PX, PIL.Image.Resampling.BICUBIC))


def whole(data: bytes) -> Image:
    """Every pixel, by Pillow."""
    with PIL.Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    return Image(sha256="", pixels=pixels, width=width, height=height, format="jpeg")


def least(data: bytes) -> None:
    """The least that libjpeg can do for any pixel at all."""
    with PIL.Image.open(io.BytesIO(data)) as picture:
        picture.draft("RGB", (1, 1))
        picture.load()


def cosine(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Of two arrays of one shape, each without its mean. Raises ValueError where one has no contrast."""
    if first.shape != second.shape:
        raise ValueError(f"Arrays of one shape are needed, not {first.shape} and {second.shape}.")
    a, b = (values.astype(np.float64).ravel() - values.mean(dtype=np.float64) for values in (first, second))
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not length:
        raise ValueError("An array without contrast has no cosine.")
    return float(a @ b) / length


def vector_cosines(data: bytes) -> dict[str, float]:
    """Of the embedded tower's vectors: of what we decode, and of every pixel."""
    from multimodal.encoders.image import OpenClipImageEncoder

    encoder = OpenClipImageEncoder(resolve(ImageArgs().model or "embedded:image-tower", home()))
    request, small = ours(data, LoaderArgs().image_max_side_px), ours(data, ONLY_SMALL_PX)
    vectors = encoder.vectors([request, small, whole(data)])
    return {REQUEST: float(vectors[0] @ vectors[2]), SMALL: float(vectors[1] @ vectors[2])}


def measure(data: bytes, pairs: int, repeats: int) -> Measured:
    """All sides in turn."""
    side_px = LoaderArgs().image_max_side_px
    sides = {
        REQUEST: lambda: shrunk(ours(data, side_px)),
        SMALL: lambda: shrunk(ours(data, ONLY_SMALL_PX)),
        PILLOW: lambda: pillow(data),
        LEAST: lambda: least(data),
    }
    return take_turns(sides, pairs=pairs, repeats=repeats)


def findings_of(name: str, measured: Measured) -> list[Finding]:
    """Pillow's way over both of ours."""
    found = [*measured.compare(PILLOW, REQUEST, FASTER), *measured.compare(PILLOW, SMALL, FASTER)]
    return [replace(one, name=f"{name}: {one.name}") for one in found]


def main(
    quick: Annotated[bool, typer.Option("--quick", help="One pair: shows that it runs.")] = False,
) -> None:
    """Compare what MediaLoader does with a photograph with Pillow's full decode and resize."""
    import torch

    torch.set_num_threads(1)
    pairs, repeats = (QUICK_PAIRS, QUICK_REPEATS) if quick else (2 * MIN_PAIRS, REPEATS)
    picture = photograph()
    files = {name: encoded(picture, quality) for name, quality in QUALITIES.items()}
    measured = {name: measure(data, pairs, repeats) for name, data in files.items()}
    bytes_per_s = limits.copied_bytes_per_s(limits.QUICK_REPEATS if quick else limits.REPEATS)
    console.print(f"Of a request, {LoaderArgs().image_max_side_px} pixels are kept for all stages.")
    facts = {
        key: fact
        for name, data in files.items()
        for key, fact in [
            *facts_of(name, data, measured[name]),
            *shares_of(name, moved_bytes(data), measured[name], bytes_per_s),
        ]
    }
    details = {
        "checks": [check for name, data in files.items() for check in checks_of(name, data)],
        "facts": {**facts, "memory bandwidth, GB/s": round(bytes_per_s / limits.GIGA, 1)},
        "turns": {name: one.as_json() for name, one in measured.items()},
    }
    findings = [finding for name, one in measured.items() for finding in findings_of(name, one)]
    publish("jpeg", findings, details, max(one.others_cores for one in measured.values()))


def checks_of(name: str, data: bytes) -> list[Check]:
    """How much the pixels are still those that Pillow makes."""
    reference = pillow(data)
    kept = {REQUEST: ours(data, LoaderArgs().image_max_side_px), SMALL: ours(data, ONLY_SMALL_PX)}
    return [
        check(f"{name}: cosine of pixels, {side}", cosine(shrunk(image), reference), SAME_PIXELS)
        for side, image in kept.items()
    ]


def facts_of(name: str, data: bytes, measured: Measured) -> list[tuple[str, float]]:
    """Size, the tower's vectors, and how far off the least that decoding takes each side is."""
    floor_ms = median(measured.costs[LEAST].cpu_ms)
    found = [(f"{name}: MB", round(len(data) / 1e6, 2))]
    for side, value in vector_cosines(data).items():
        found.append((f"{name}: cosine of the tower's vector, {side}", round(value, 5)))
    for side in (REQUEST, SMALL, PILLOW):
        over = median(measured.costs[side].cpu_ms) / floor_ms
        found.append((f"{name}: CPU time over the least that libjpeg takes, {side}", round(over, 2)))
    return found


def moved_bytes(data: bytes) -> dict[str, int]:
    """By side: the file that is read, and the pixels that are written: what decoding moves at least."""
    side_px = LoaderArgs().image_max_side_px
    decoded = {REQUEST: ours(data, side_px), SMALL: ours(data, ONLY_SMALL_PX), PILLOW: whole(data)}
    return {side: len(data) + image.pixels.nbytes for side, image in decoded.items()}


def shares_of(
    name: str, moved: Mapping[str, int], measured: Measured, bytes_per_s: float
) -> list[tuple[str, float]]:
    """How much of the memory bandwidth each side uses, by the bytes that it has to move."""
    return [
        (
            f"{name}: of memory bandwidth, {side}",
            round(1000 * count / median(measured.costs[side].wall_ms) / bytes_per_s, 4),
        )
        for side, count in moved.items()
    ]


if __name__ == "__main__":
    run(main)
