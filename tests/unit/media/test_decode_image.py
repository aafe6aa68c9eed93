"""Pictures: every format, upright, on white, within limits."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import InvalidMedia, InvalidRequest, MediaTooLarge
from multimodal.identity import sha256_of
from multimodal.media.decoder import decode
from multimodal.types import Image, MediaKind, MediaSource
from tests import media

PARAM = "messages.0.content.0"
LOSSY = 6
"""How far a colour may be off after JPEG or WebP."""


def load(data: bytes, *, limits: Limits | None = None, max_side_px: int = 2048) -> Image:
    source = MediaSource(kind=MediaKind.IMAGE, data=data, param=PARAM)
    image = decode(source, limits or Limits(), LoaderArgs(image_max_side_px=max_side_px))
    assert isinstance(image, Image)
    return image


def saved(picture: Pillow.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def near(pixel: object, colour: tuple[int, int, int], tolerance: int = LOSSY) -> bool:
    return bool(np.all(np.abs(np.asarray(pixel, np.int16) - np.asarray(colour, np.int16)) <= tolerance))


@pytest.mark.parametrize("format", media.PICTURE_FORMATS)
def test_each_format_is_decoded(format: media.PictureFormat) -> None:
    data = media.plain("teal", format)
    image = load(data)
    assert (image.width, image.height, image.format) == (64, 48, format)
    assert image.pixels.shape == (48, 64, 3)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags["C_CONTIGUOUS"]
    assert image.sha256 == sha256_of(data)
    assert near(image.pixels, (0, 128, 128))


@pytest.mark.parametrize("format", ["jpeg", "tiff", "webp", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(
    orientation: int, format: Literal["jpeg", "tiff", "webp", "png"]
) -> None:
    image = load(media.exif_turned(orientation, format))
    assert (image.width, image.height) == (80, 40)
    assert image.pixels.shape == (40, 80, 3)
    corners = [image.pixels[y, x] for y in (5, 34) for x in (5, 74)]
    upright = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    assert all(near(pixel, colour, 12) for pixel, colour in zip(corners, upright, strict=True))


def test_a_turned_picture_is_scaled_down_upright() -> None:
    image = load(media.exif_turned(6), max_side_px=20)
    assert (image.width, image.height) == (80, 40)
    assert image.pixels.shape == (10, 20, 3)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_a_damaged_exif_block_is_ignored(exif: bytes) -> None:
    assert load(saved(Pillow.new("RGB", (8, 8), "red"), "jpeg", exif=exif)).width == 8


@pytest.mark.parametrize("format", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation_is_taken(format: Literal["gif", "webp", "png"]) -> None:
    image = load(media.animation(("lime", "red", "blue"), format))
    assert near(image.pixels, (0, 255, 0))


@pytest.mark.parametrize("format", ["png", "webp", "tiff", "gif"])
def test_what_is_transparent_shows_white(format: str) -> None:
    picture = Pillow.new("RGBA", (16, 16), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 8, 16))
    image = load(saved(picture, format))
    assert near(image.pixels[8, 3], (255, 0, 0))
    assert near(image.pixels[8, 12], (255, 255, 255))


def test_half_transparent_colours_are_mixed_with_white() -> None:
    image = load(saved(Pillow.new("RGBA", (4, 4), (255, 0, 0, 128)), "png"))
    assert near(image.pixels, (255, 127, 127), 1)


def test_a_transparent_colour_key_shows_white() -> None:
    image = load(saved(Pillow.new("RGB", (4, 4), (1, 2, 3)), "png", transparency=(1, 2, 3)))
    assert near(image.pixels, (255, 255, 255), 0)


def test_palettes_are_resolved_and_scale_well() -> None:
    picture = Pillow.new("RGB", (100, 50), "navy").quantize(4)
    assert near(load(saved(picture, "png")).pixels, (0, 0, 128), 0)
    assert near(load(saved(picture, "png"), max_side_px=10).pixels, (0, 0, 128), 0)


@pytest.mark.parametrize("max_side_px", [2048, 16])
@pytest.mark.parametrize("format", ["png", "tiff"])
def test_sixteen_bits_become_eight(format: str, max_side_px: int) -> None:
    ramp = np.repeat(np.array([[0, 0x7FFF, 0xFFFF]], np.uint16), 32, axis=0).repeat(11, axis=1)
    pixels = load(saved(Pillow.fromarray(ramp), format), max_side_px=max_side_px).pixels
    middle = pixels.shape[0] // 2
    assert [int(pixels[middle, int(x * pixels.shape[1]), 0]) for x in (0.1, 0.5, 0.9)] == pytest.approx(
        [0, 127, 255], abs=2
    )


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_grey_without_a_fixed_white_is_stretched(dtype: type[np.generic]) -> None:
    ramp = np.linspace(-1000, 1000, 64).astype(dtype).reshape(8, 8)
    pixels = load(saved(Pillow.fromarray(ramp), "tiff")).pixels
    assert (int(pixels.min()), int(pixels.max())) == (0, 255)


def test_a_flat_or_infinite_grey_picture_is_no_failure() -> None:
    flat = np.full((4, 4), 7.0, np.float32)
    flat[0, 0] = np.nan
    assert load(saved(Pillow.fromarray(flat), "tiff")).pixels.shape == (4, 4, 3)


@pytest.mark.parametrize("format", ["jpeg", "tiff"])
def test_printing_colours_become_rgb(format: str) -> None:
    pixels = load(saved(Pillow.new("CMYK", (16, 16), (0, 255, 255, 0)), format)).pixels
    assert near(pixels, (255, 0, 0), 12)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "YCbCr"])
def test_other_colour_models_become_rgb(mode: str) -> None:
    picture = Pillow.new("RGB", (12, 12), "white").convert(mode)
    assert near(load(saved(picture, "tiff" if mode == "YCbCr" else "png")).pixels, (255, 255, 255), 2)


@pytest.mark.parametrize("format", media.PICTURE_FORMATS)
def test_large_pictures_are_scaled_down(format: media.PictureFormat) -> None:
    image = load(media.plain("orange", format, size=(640, 320)), max_side_px=100)
    assert (image.width, image.height) == (640, 320)
    assert image.pixels.shape == (50, 100, 3)
    assert near(image.pixels, (255, 165, 0))


def photograph(
    size: tuple[int, int], *, mode: str = "RGB", progressive: bool = False, subsampling: int = -1
) -> tuple[bytes, Pillow.Image]:
    """A JPEG of soft noise, and what it was made of."""
    coarse = np.random.default_rng(0).integers(0, 256, (size[1] // 16, size[0] // 16, 3), np.uint8)
    picture = Pillow.fromarray(coarse).resize(size, Pillow.Resampling.BICUBIC)
    how = {"quality": 92, "progressive": progressive, "subsampling": subsampling}
    return saved(picture.convert(mode), "jpeg", **how), picture


def alike(pixels: NDArray[np.uint8], picture: Pillow.Image) -> float:
    """Correlation with the picture at the size of the pixels."""
    wanted = picture.resize((pixels.shape[1], pixels.shape[0]), Pillow.Resampling.LANCZOS)
    return float(np.corrcoef(pixels.ravel(), np.asarray(wanted).ravel())[0, 1])


@pytest.mark.parametrize(
    ("size", "max_side_px", "longer_side_px"),
    [
        ((800, 600), 400, 400),  # libjpeg's half
        ((600, 800), 400, 400),
        ((800, 600), 412, 400),  # half is nearly as much: 0.97
        ((600, 800), 412, 400),
        ((800, 600), 414, 414),  # half is too small
        ((800, 600), 399, 399),
        ((800, 600), 200, 200),
        ((800, 600), 800, 800),
        ((800, 600), 2048, 800),
        ((1600, 32), 800, 800),
    ],
)
def test_a_jpeg_that_is_decoded_smaller_has_about_the_size_that_is_asked_for(
    size: tuple[int, int], max_side_px: int, longer_side_px: int
) -> None:
    data, picture = photograph(size)
    image = load(data, max_side_px=max_side_px)
    assert (image.width, image.height) == size
    assert max(image.pixels.shape) == longer_side_px
    assert alike(image.pixels, picture) > 0.995


def test_other_formats_have_exactly_the_size_that_is_asked_for() -> None:
    assert load(media.plain("orange", "png", size=(800, 600)), max_side_px=412).pixels.shape == (309, 412, 3)


@pytest.mark.parametrize(("longer_side_px", "decoded_px"), [(4000, 2000), (4032, 2016), (4096, 2048)])
def test_photographs_of_12_megapixels_are_decoded_at_half_their_size(
    longer_side_px: int, decoded_px: int
) -> None:
    data = media.plain("orange", "jpeg", size=(longer_side_px, 64))
    assert load(data).pixels.shape == (32, decoded_px, 3)


@pytest.mark.parametrize("mode", ["L", "CMYK", "YCbCr"])
def test_jpegs_of_all_colour_models_are_decoded_smaller(mode: str) -> None:
    data, picture = photograph((800, 608), mode=mode)
    image = load(data, max_side_px=400)
    assert image.pixels.shape == (304, 400, 3)
    assert alike(image.pixels, picture.convert("L").convert("RGB") if mode == "L" else picture) > 0.99


@pytest.mark.parametrize(("progressive", "subsampling"), [(True, 2), (False, 0), (False, 2)])
def test_jpegs_of_all_layouts_are_decoded_smaller(progressive: bool, subsampling: int) -> None:
    data, picture = photograph((800, 608), progressive=progressive, subsampling=subsampling)
    image = load(data, max_side_px=400)
    assert image.pixels.shape == (304, 400, 3)
    assert alike(image.pixels, picture) > 0.99


def test_small_pictures_keep_their_size() -> None:
    assert load(media.plain("orange"), max_side_px=64).pixels.shape == (48, 64, 3)


def test_a_line_keeps_a_pixel_when_scaled_down() -> None:
    assert load(media.plain("orange", size=(1000, 1)), max_side_px=10).pixels.shape == (1, 10, 3)


@pytest.mark.parametrize("format", media.PICTURE_FORMATS)
def test_bombs_are_refused(format: media.PictureFormat) -> None:
    data = media.bomb(format)
    assert len(data) < 10_000
    with pytest.raises(MediaTooLarge, match="100,000,000 pixels") as caught:
        load(data)
    assert caught.value.param == PARAM


@pytest.mark.parametrize("format", media.PICTURE_FORMATS)
def test_the_pixel_limit_is_exact(format: media.PictureFormat) -> None:
    data = media.plain("red", format, size=(20, 10))
    assert load(data, limits=Limits(image_pixels=200)).width == 20
    with pytest.raises(MediaTooLarge):
        load(data, limits=Limits(image_pixels=199))


def test_a_frame_that_sticks_out_of_its_canvas_counts() -> None:
    data = bytearray(media.plain("red", "gif", size=(20, 10)))
    at = data.index(b"\x2c") + 5
    data[at : at + 4] = struct.pack("<HH", 50_000, 50_000)
    with pytest.raises(MediaTooLarge):
        load(bytes(data))


def test_limits_leave_no_trace() -> None:
    before = Pillow.MAX_IMAGE_PIXELS
    load(media.plain("red"))
    assert before == Pillow.MAX_IMAGE_PIXELS


def test_the_byte_limit_comes_first() -> None:
    data = media.plain("red")
    with pytest.raises(MediaTooLarge, match="may have 10 bytes"):
        load(data, limits=Limits(image_bytes=10))


@pytest.mark.parametrize("format", media.PICTURE_FORMATS)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.98])
def test_pictures_that_end_early_are_invalid(format: media.PictureFormat, keep: float) -> None:
    data = media.picture_with_text("HELLO", format, size=(160, 80))
    with pytest.raises(InvalidMedia) as caught:
        load(media.truncated(data, keep))
    assert caught.value.param == PARAM


@given(
    st.sampled_from(media.PICTURE_FORMATS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_pictures_decode_or_are_refused(
    format: media.PictureFormat, damage: list[tuple[float, int]]
) -> None:
    data = bytearray(media.picture_with_text("HI", format, size=(48, 24)))
    for place, value in damage:
        data[int(place * len(data))] = value
    with suppress(InvalidRequest):
        assert load(bytes(data), limits=Limits(image_pixels=1_000_000)).pixels.ndim == 3
