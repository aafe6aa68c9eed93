"""Decode a picture with Pillow: upright, RGB, on white, no larger than asked for.

The size in the header is checked before any pixel is materialised.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from multimodal.config import Limits
from multimodal.errors import InvalidMedia, MultimodalError, UnsupportedMedia
from multimodal.media.limits import check_pixels, too_many_pixels
from multimodal.types import Image

_ORIENTATION_TAG = 0x0112
"""EXIF 2.32, table 4: which side of the sensor was up."""

_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
"""What sets a picture of each orientation upright."""

JPEG_SIDE_SHARE = 0.97
"""A JPEG may come out this much smaller than asked for: libjpeg decodes cheaply to a half, a quarter or an
eighth only, and cameras of 12 megapixels make 4000 or 4032 pixels, whose half is just below the usual 2048.
Measured on printed pages: Reader reads those as well as before, but with 0.9 it loses letters of 20 pixels in
pictures of 3700."""

_WIDE_GREY = ("I;16", "I;16B", "I;16L", "I;16N")
_UNBOUNDED_GREY = ("I", "F")
"""Pillow's 32-bit grey modes: no value of theirs means white."""


def decode_image(
    data: bytes, *, format_name: str, limits: Limits, max_side_px: int, sha256: str, param: str
) -> Image:
    """Decode one picture; of an animation its first frame.

    Args:
        data: the encoded picture.
        format_name: what `sniff` says it is: no other decoder is tried.
        limits: `image_pixels` holds for the picture as its header describes it.
        max_side_px: larger pictures are scaled down to this longer side, pixels; JPEGs perhaps to a little
            less (`JPEG_SIDE_SHARE`).
        sha256: digest of `data`.
        param: names the part in errors.

    Raises:
        MediaTooLarge: more pixels than allowed.
        InvalidMedia: damaged or cut short.
        UnsupportedMedia: a colour model that cannot be turned into RGB.
    """
    if format_name == "webp":
        check_pixels(*webp_size(data, param), limits, param)
    with (
        _pixel_limit(limits.image_pixels),
        _one_meaning(limits.image_pixels, param),
        Pillow.open(io.BytesIO(data), formats=[format_name]) as picture,
    ):
        stored = picture.size
        check_pixels(*stored, limits, param)
        picture.draft("RGB", _least(stored, max_side_px))
        picture.load()
        orientation = _orientation(picture)
        rgb = _to_rgb(_scaled(picture, max_side_px), param)
        upright = rgb.transpose(_TURNS[orientation]) if orientation in _TURNS else rgb
        pixels = np.ascontiguousarray(upright, dtype=np.uint8)
    width, height = stored[::-1] if orientation >= 5 else stored
    return Image(sha256=sha256, pixels=pixels, width=width, height=height, format=format_name)


def webp_size(data: bytes, param: str) -> tuple[int, int]:
    """Width and height by a WebP header (RFC 9649), pixels. Pillow allocates the canvas before it tells them.

    Raises InvalidMedia where there is no such header.
    """
    kind, body = data[12:16], data[20:30]
    if len(body) == 10 and kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if len(body) == 10 and kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if len(body) == 10 and kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise InvalidMedia("This WebP picture is damaged: it has no size.", param=param)


@contextmanager
def _pixel_limit(pixels: int) -> Iterator[None]:
    """Pillow's own guard, set to our limit: it also covers sizes that a decoder finds later on."""
    before = Pillow.MAX_IMAGE_PIXELS
    Pillow.MAX_IMAGE_PIXELS = pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            yield
    finally:
        Pillow.MAX_IMAGE_PIXELS = before


@contextmanager
def _one_meaning(pixels: int, param: str) -> Iterator[None]:
    """Pillow's decoders meet damaged data with every kind of exception; all of them mean the same."""
    try:
        yield
    except (MultimodalError, MemoryError):
        raise
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise too_many_pixels(pixels, param) from error
    except Exception as error:
        raise InvalidMedia("This picture is damaged or cut short. Send it again.", param=param) from error


def _orientation(picture: Pillow.Image) -> int:
    """EXIF orientation, 1 to 8. A picture with a damaged EXIF block is as good as one without."""
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _least(stored: tuple[int, int], max_side_px: int) -> tuple[int, int]:
    """The least that a JPEG is decoded to. Still smaller would cost Reader small letters."""
    share = min(1.0, JPEG_SIDE_SHARE * max_side_px / max(stored))
    return max(1, int(stored[0] * share)), max(1, int(stored[1] * share))


def _scaled(picture: Pillow.Image, max_side_px: int) -> Pillow.Image:
    """At most `max_side_px` wide and high; modes that cannot be interpolated are converted first."""
    if max(picture.size) <= max_side_px:
        return picture
    if picture.mode in ("1", "P", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    elif picture.mode in _WIDE_GREY:
        picture = _wide_to_grey(picture)
    picture.thumbnail((max_side_px, max_side_px), Pillow.Resampling.LANCZOS, reducing_gap=3.0)
    return picture


def _to_rgb(picture: Pillow.Image, param: str) -> Pillow.Image:
    """Eight bits for each colour; what is transparent shows white."""
    if picture.mode in _WIDE_GREY:
        picture = _wide_to_grey(picture)
    elif picture.mode in _UNBOUNDED_GREY:
        picture = _stretched(picture)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Pillow.new("RGBA", layer.size, "white")
        return Pillow.alpha_composite(white, layer).convert("RGB")
    if picture.mode == "RGB":
        return picture
    try:
        return picture.convert("RGB")
    except ValueError as error:
        raise UnsupportedMedia(
            f"The colour model {picture.mode} is not supported. Save the picture as RGB.", param=param
        ) from error


def _wide_to_grey(picture: Pillow.Image) -> Pillow.Image:
    """16 bits to 8: 65,535 is white."""
    return Pillow.fromarray((np.asarray(picture) >> 8).astype(np.uint8))


def _stretched(picture: Pillow.Image) -> Pillow.Image:
    """32-bit grey has no fixed white: its least value becomes black and its greatest white."""
    values: NDArray[np.float64] = np.nan_to_num(np.asarray(picture).astype(np.float64))
    span = float(values.max() - values.min()) or 1.0
    return Pillow.fromarray(((values - values.min()) / span * 255).astype(np.uint8))
