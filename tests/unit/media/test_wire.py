"""Headers between the pool and its workers: what is packed comes back, what exceeds a limit does not."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import MultimodalError, StageUnavailable
from multimodal.media import wire
from multimodal.types import Audio, Image, Media, MediaKind, Video

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


@pytest.mark.parametrize(
    ("media", "kind"),
    [
        (PICTURE, MediaKind.IMAGE),
        (SOUND, MediaKind.AUDIO),
        (video(SOUND), MediaKind.VIDEO),
        (video(None), MediaKind.VIDEO),
    ],
)
def test_media_survive_the_journey(media: Media, kind: MediaKind) -> None:
    header, sent = wire.pack_media(media)
    framed = wire.frame_header(header)
    (size,) = wire.LENGTH.unpack(framed[:4])
    reply = wire.parse_reply(framed[4 : 4 + size])
    assert reply == header
    assert isinstance(reply, wire.ImageReply | wire.AudioReply | wire.VideoReply)
    arrays = wire.allocate(reply, kind, Limits(), LoaderArgs())
    for array, original in zip(arrays, sent, strict=True):
        np.copyto(array, original)
    back = wire.build_media(reply, arrays, DIGEST)
    assert repr(back) == repr(media)
    assert [array.tobytes() for array in wire.pack_media(back)[1]] == [array.tobytes() for array in sent]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (wire.ImageReply(rows=2049, columns=1, width=1, height=1, format="png"), MediaKind.IMAGE),
        (wire.ImageReply(rows=1, columns=1, width=1, height=1, format="png"), MediaKind.VIDEO),
        (wire.AudioReply(samples=1800 * 16_000 + 1, format="wav"), MediaKind.AUDIO),
        (wire.pack_media(video(SOUND))[0].model_copy(update={"samples": 301 * 16_000}), MediaKind.VIDEO),
        (wire.pack_media(video(None))[0].model_copy(update={"columns": 961}), MediaKind.VIDEO),
        (wire.pack_media(video(None))[0].model_copy(update={"times_s": [0.0] * 65}), MediaKind.VIDEO),
    ],
)
def test_more_than_the_limits_is_not_allocated(reply: wire.MediaReply, kind: MediaKind) -> None:
    with pytest.raises(ValueError, match="a worker sent"):
        wire.allocate(reply, kind, Limits(), LoaderArgs())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'{"status": "image"}',
        b'{"status": "audio", "samples": -1, "format": "wav"}',
        b'{"status": "audio", "samples": 1.5, "format": "wav"}',
        b'{"status": "audio", "samples": "1", "format": "wav"}',
        b'{"status": "audio", "samples": 1, "format": "../../etc"}',
        b'{"status": "audio", "samples": 1, "format": "wav", "more": 1}',
        b'{"status": "duration", "seconds": NaN}',
        b'{"status": "duration", "seconds": Infinity}',
    ],
)
def test_malformed_headers_are_value_errors(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.parse_reply(body)


@pytest.mark.parametrize("cuts_s", [None, [-1.0], [1e400], ["1"], [0.5] * 256])
def test_cuts_are_checked(cuts_s: object) -> None:
    header = wire.pack_media(video(None))[0].model_dump(mode="json") | {"cuts_s": cuts_s}
    with pytest.raises(ValueError, match="cuts_s"):
        wire.parse_reply(json.dumps(header).encode())


@given(st.binary(max_size=200))
def test_any_other_bytes_are_value_errors(body: bytes) -> None:
    with suppress(ValueError):
        wire.parse_reply(body)


@pytest.mark.parametrize("error", list(wire.ERRORS.values()))
def test_errors_are_rebuilt(error: type[MultimodalError]) -> None:
    reply = wire.ErrorReply(code=error.code, message="a sentence", param="p")
    rebuilt = wire.rebuild_error(reply)
    assert type(rebuilt) is error
    assert (rebuilt.message, rebuilt.param) == ("a sentence", "p")


def test_errors_that_are_not_a_workers_are_refused() -> None:
    with pytest.raises(ValueError, match="not a worker's"):
        wire.rebuild_error(wire.ErrorReply(code=StageUnavailable.code, message="m", param=None))
