"""Media between the pool and its workers: what is packed comes back, what exceeds a limit does not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import MediaTooLarge
from multimodal.media import payload, wire
from multimodal.types import Audio, Document, Image, Media, MediaKind, Page, TextBlock, Video

DIGEST = "0" * 64
SOUND = Audio(sha256=DIGEST, samples=np.linspace(-1, 1, 1600, dtype=np.float32), duration_s=0.1, format="wav")
PICTURE = Image(
    sha256=DIGEST,
    pixels=np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3),
    width=60,
    height=40,
    format="png",
)


def video(audio: Audio | None) -> Video:
    frames = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    size = {"width": 60, "height": 40}
    return Video(
        sha256=DIGEST,
        frames=frames,
        times_s=(0.5, 1.5),
        duration_s=2.0,
        format="wav",
        audio=audio,
        cuts_s=(0.9,),
        **size,
    )


def document(*pages: Page, count: int | None = None, title: str = "A title") -> Document:
    return Document(
        sha256=DIGEST, format="pdf", title=title, pages=pages, page_count=count or pages[-1].number
    )


PREVIEW = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
PAPER = document(
    Page(
        number=3,
        blocks=(
            TextBlock(text="Größe \u2028 日本", box=(0.1, 0.2, 0.3, 0.4), heading=True),
            TextBlock(text="plain"),
        ),
        pixels=PREVIEW,
    ),
    Page(number=4, blocks=()),
    Page(number=5, blocks=(), pixels=PREVIEW[:3].copy(), scanned=True),
    count=9,
)


@pytest.mark.parametrize(
    ("media", "kind"),
    [
        (PICTURE, MediaKind.IMAGE),
        (SOUND, MediaKind.AUDIO),
        (video(SOUND), MediaKind.VIDEO),
        (video(None), MediaKind.VIDEO),
        (PAPER, MediaKind.DOCUMENT),
    ],
)
def test_media_survive_the_journey(media: Media, kind: MediaKind) -> None:
    header, sent = payload.pack_media(media)
    framed = wire.frame_header(header)
    (size,) = wire.LENGTH.unpack(framed[:4])
    reply = wire.parse_reply(framed[4 : 4 + size])
    assert reply == header
    assert isinstance(reply, wire.MediaReply)
    arrays = payload.allocate(reply, kind, Limits(), LoaderArgs())
    for array, original in zip(arrays, sent, strict=True):
        np.copyto(array, original)
    back = payload.build_media(reply, arrays, DIGEST)
    assert repr(back) == repr(media)
    assert [array.tobytes() for array in payload.pack_media(back)[1]] == [array.tobytes() for array in sent]


def paper(**changes: object) -> wire.DocumentReply:
    """The header of one page without pixels, changed."""
    header = {"text_bytes": 10, "sizes": [[0, 0]], "page_count": 1, "format": "pdf"}
    return wire.DocumentReply.model_validate(header | changes)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (wire.ImageReply(rows=2049, columns=1, width=1, height=1, format="png"), MediaKind.IMAGE),
        (wire.ImageReply(rows=1, columns=1, width=1, height=1, format="png"), MediaKind.VIDEO),
        (wire.AudioReply(samples=1800 * 16_000 + 1, format="wav"), MediaKind.AUDIO),
        (payload.pack_media(video(SOUND))[0].model_copy(update={"samples": 301 * 16_000}), MediaKind.VIDEO),
        (payload.pack_media(video(None))[0].model_copy(update={"columns": 961}), MediaKind.VIDEO),
        (payload.pack_media(video(None))[0].model_copy(update={"times_s": [0.0] * 65}), MediaKind.VIDEO),
        (paper(sizes=[[1, 1]] * 33), MediaKind.DOCUMENT),
        (paper(page_count=501), MediaKind.DOCUMENT),
        (paper(sizes=[[1281, 1]]), MediaKind.DOCUMENT),
        (paper(sizes=[[5, 0]]), MediaKind.DOCUMENT),
        (paper(sizes=[[0, 5]]), MediaKind.DOCUMENT),
        (paper(sizes=[[385, 300]] * 17), MediaKind.DOCUMENT),
        (paper(), MediaKind.IMAGE),
    ],
)
def test_more_than_the_limits_is_not_allocated(reply: wire.MediaReply, kind: MediaKind) -> None:
    with pytest.raises(ValueError, match="a worker sent"):
        payload.allocate(reply, kind, Limits(), LoaderArgs())


def rebuilt(texts: object, sizes: Sequence[tuple[int, int]] = ((0, 0),)) -> Media:
    """What the pool makes of these texts."""
    blob = np.frombuffer(texts if isinstance(texts, bytes) else json.dumps(texts).encode(), np.uint8)
    reply = paper(text_bytes=max(1, len(blob)), sizes=[list(size) for size in sizes], page_count=2)
    pictures = [np.zeros((rows, columns, 3), np.uint8) for rows, columns in sizes if rows]
    return payload.build_media(reply, [blob, *pictures], DIGEST)


BLOCK = {"text": "a", "box": None, "heading": False}
PAGE = {"number": 1, "scanned": False, "blocks": [BLOCK]}


def test_a_page_of_texts_is_believed_as_far_as_it_goes() -> None:
    found = rebuilt({"title": "", "pages": [PAGE]})
    assert isinstance(found, Document)
    assert found.pages == (Page(number=1, blocks=(TextBlock(text="a"),)),)


@pytest.mark.parametrize(
    "texts",
    [
        b"",
        b"\xff",
        b"[]",
        {"title": "", "pages": []},
        {"title": "", "pages": [PAGE, PAGE]},
        {"title": "", "pages": [PAGE | {"number": 0}]},
        {"title": "", "pages": [PAGE | {"number": 3}]},
        {"title": "", "pages": [PAGE | {"more": 1}]},
        {"title": "", "pages": [PAGE | {"scanned": 1}]},
        {"title": "", "pages": [PAGE | {"blocks": [BLOCK | {"text": ""}]}]},
        {"title": "", "pages": [PAGE | {"blocks": [BLOCK | {"box": [0, 0, 1]}]}]},
        {"title": "", "pages": [PAGE | {"blocks": [BLOCK | {"box": [0, 0, 1, 1.1]}]}]},
        {"title": "", "pages": [PAGE | {"blocks": [BLOCK | {"box": [0, 0, 1, float("nan")]}]}]},
        {"title": "", "pages": [PAGE | {"blocks": [BLOCK] * 20_001}]},
        {"title": "a" * 1001, "pages": [PAGE]},
        {"title": None, "pages": [PAGE]},
    ],
)
def test_texts_that_no_worker_sends_are_value_errors(texts: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        rebuilt(texts)


@given(st.binary(max_size=200))
def test_any_other_texts_are_value_errors(texts: bytes) -> None:
    with suppress(ValueError):
        rebuilt(texts)


BLOCKS = st.builds(
    TextBlock,
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    box=st.none() | st.tuples(*[st.floats(0, 1)] * 4),
    heading=st.booleans(),
)


@given(st.lists(st.lists(BLOCKS), min_size=1, max_size=4), st.integers(1, 100))
def test_any_document_survives_the_journey(texts: list[list[TextBlock]], first: int) -> None:
    sent = document(*(Page(number=number, blocks=tuple(page)) for number, page in enumerate(texts, first)))
    header, arrays = payload.pack_media(sent)
    assert isinstance(header, wire.DocumentReply)
    assert payload.build_media(header, arrays, DIGEST) == sent


def test_texts_that_are_too_large_are_refused_where_they_are_made() -> None:
    block = TextBlock(text="a" * 200_000)
    pages = (Page(number=number, blocks=(block,)) for number in range(1, 101))
    with pytest.raises(MediaTooLarge):
        payload.pack_media(document(*pages))
