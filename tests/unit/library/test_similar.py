"""Perceptual hashes tell copies of a picture from other pictures, and duplicates are listed."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from multimodal.config import RetrieverArgs
from multimodal.identity import segment_id
from multimodal.library.similar import MOST_DUPLICATES, duplicates_of, perceptual_hash, same_words
from multimodal.retrieval.types import Segment, SegmentPart
from multimodal.types import MediaKind
from tests.library_fakes import a_file
from tests.media import draw_text
from tests.unseen import drawings

BITS = RetrieverArgs().duplicate_bits


def hash_of(picture: Image.Image) -> int | None:
    return perceptual_hash(np.asarray(picture.convert("RGB")))


def differing_bits(one: Image.Image, other: Image.Image) -> int:
    left, right = hash_of(one), hash_of(other)
    assert left is not None
    assert right is not None
    return (left ^ right).bit_count()


def jpeg(picture: Image.Image) -> Image.Image:
    written = io.BytesIO()
    picture.save(written, "jpeg", quality=50)
    return Image.open(written).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-encoded": jpeg,
    "half the size": lambda one: one.resize((one.width // 2, one.height // 2)),
    "twice the size": lambda one: one.resize((one.width * 2, one.height * 2)),
    "wider": lambda one: one.resize((one.width * 11 // 10, one.height)),
    "darker": lambda one: ImageEnhance.Brightness(one).enhance(0.8),
    "less contrast": lambda one: ImageEnhance.Contrast(one).enhance(0.8),
    "paler": lambda one: ImageEnhance.Color(one).enhance(0.5),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_is_a_near_duplicate(copy: Callable[[Image.Image], Image.Image]) -> None:
    for drawing in drawings()[::4]:
        assert differing_bits(drawing.picture, copy(drawing.picture)) <= BITS, drawing.names[0]


def test_a_picture_that_is_a_little_brighter_is_a_near_duplicate() -> None:
    picture = draw_text("TOTAL 42 EUR", size=(320, 180), colour="grey")
    assert differing_bits(picture, ImageEnhance.Brightness(picture).enhance(1.2)) <= BITS


def test_different_drawings_are_hardly_ever_near_duplicates() -> None:
    hashes = [hash_of(one.picture) or 0 for one in drawings()]
    pairs = [(one ^ other).bit_count() for one, other in combinations(hashes, 2)]
    alike = sum(bits <= BITS for bits in pairs)
    assert alike <= 0.002 * len(pairs)


def test_other_words_in_another_place_are_another_picture() -> None:
    one = draw_text("TOTAL 42 EUR", size=(640, 360))
    assert differing_bits(one, draw_text("HELLO", size=(640, 360))) > BITS


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_has_no_hash(level: int) -> None:
    assert perceptual_hash(np.full((90, 160, 3), level, np.uint8)) is None


def test_the_noise_of_a_dark_camera_is_no_structure() -> None:
    noise = np.random.default_rng(0).integers(0, 6, (480, 640, 3), np.uint8)
    assert perceptual_hash(noise) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (7, 5), (700, 33)])
def test_a_picture_of_any_size_has_a_hash_of_64_bits(size: tuple[int, int]) -> None:
    bits = perceptual_hash(np.random.default_rng(3).integers(0, 255, (*size, 3), np.uint8))
    assert bits is None or 0 <= bits < 2**64


def test_pixels_may_be_read_only_and_strided() -> None:
    frames = np.random.default_rng(4).integers(0, 255, (2, 40, 60, 3), np.uint8)
    frames.flags.writeable = False
    assert perceptual_hash(frames[1][::2, ::2]) == perceptual_hash(frames[1][::2, ::2].copy())


# --- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("", "", True),
        ("Total 42 EUR", "TOTAL\n42 eur.", True),
        ("TOTAL 42 EUR", "TOTAL 43 EUR", False),
        ("", "Questions?", False),
        (" ".join(map(str, range(40))), " ".join(map(str, range(39))) + " l0", True),
    ],
)
def test_texts_are_the_same_but_for_few_of_many_words(one: str, other: str, same: bool) -> None:
    assert same_words(one, other) is same


# --- duplicates --------------------------------------------------------------------------------


def segment(number: int, *, content: str = "", start_s: float | None = None) -> Segment:
    file = a_file(number, MediaKind.IMAGE, content=content)
    return Segment(
        id=segment_id(file.id, file.content.sha256, 0),
        tenant=file.tenant,
        file_id=file.id,
        sha256=file.content.sha256,
        kind=MediaKind.IMAGE,
        part=SegmentPart.PICTURE,
        ordinal=0,
        start_s=start_s,
    )


def test_a_file_is_no_duplicate_of_itself() -> None:
    assert duplicates_of(a_file(1, MediaKind.IMAGE), [(segment(1), 0)]) == ()


def test_each_other_file_is_listed_once_by_its_most_similar_segment() -> None:
    alike = [(segment(2, start_s=3.0), 4), (segment(2, start_s=9.0), 2), (segment(3), 1)]
    found = duplicates_of(a_file(1, MediaKind.VIDEO), alike)
    assert [(one.file_id[-1], one.similarity, one.start_s) for one in found] == [
        ("3", 1 - 1 / 64, None),
        ("2", 1 - 2 / 64, 9.0),
    ]
    assert not any(one.exact for one in found)


def test_the_same_bytes_are_an_exact_duplicate() -> None:
    (found,) = duplicates_of(a_file(1, MediaKind.IMAGE, content="x"), [(segment(2, content="x"), 0)])
    assert found.exact
    assert found.similarity == 1.0


def test_no_more_than_a_handful_are_listed() -> None:
    alike = [(segment(number), 0) for number in range(2, 100)]
    assert len(duplicates_of(a_file(1, MediaKind.IMAGE), alike)) == MOST_DUPLICATES
