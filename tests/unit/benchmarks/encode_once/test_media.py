from __future__ import annotations

import base64
import io
import wave
from typing import cast

from PIL import Image

from benchmarks.encode_once.media import FreshMedia
from multimodal.media.sniff import recognise


def test_no_picture_is_made_twice_and_a_seed_makes_the_same() -> None:
    fresh, again = FreshMedia(seed=1), FreshMedia(seed=1)
    pictures = [fresh.photo(64, 48).data for _ in range(8)]
    assert len(set(pictures)) == 8
    assert [again.photo(64, 48).data for _ in range(8)] == pictures
    assert FreshMedia().photo(64, 48).data != FreshMedia().photo(64, 48).data


def test_a_picture_differs_in_what_is_seen_and_not_only_in_its_bytes() -> None:
    fresh = FreshMedia(seed=1)
    first, second = (Image.open(io.BytesIO(fresh.photo(64, 48).data)) for _ in range(2))
    assert first.size == second.size == (64, 48)
    assert first.tobytes() != second.tobytes()


def test_speech_is_exactly_as_long_as_asked_for() -> None:
    fresh = FreshMedia(seed=1)
    first, second = fresh.speech(2.0), fresh.speech(2.0)
    with wave.open(io.BytesIO(first.data)) as recording:
        assert recording.getnframes() == 2 * recording.getframerate()
    assert first.data != second.data


def test_parts_carry_the_bytes_as_the_api_wants_them() -> None:
    fresh = FreshMedia(seed=1)
    clip, speech, photo = fresh.clip(1.2), fresh.speech(1.0), fresh.photo(64, 48)
    sound = cast("dict[str, str]", speech.part()["input_audio"])
    assert base64.b64decode(sound["data"]) == speech.data
    for medium, kind in ((clip, "video"), (photo, "image")):
        url = cast("dict[str, str]", medium.part()[f"{kind}_url"])["url"]
        head, _, data = url.partition(";base64,")
        assert base64.b64decode(data) == medium.data
        assert recognise(medium.data, "")[0] == kind
        assert head in ("data:video/mp4", "data:image/jpeg")
