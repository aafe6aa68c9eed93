"""How much longer a request may take because of the media in it."""

from __future__ import annotations

import pytest

from multimodal.config import AppArgs, DeadlineArgs, LibraryArgs, Limits, StoredLimits
from multimodal.deadlines import SCANNED_PAGE_S, SPEECH_BYTES_PER_S, allowing
from multimodal.types import MediaKind, MediaSource, RequestContext, StoredContent

ARGS = AppArgs(
    deadline=DeadlineArgs(per_media_s=2.0),
    limits=Limits(audio_s=100, video_s=200),
    library=LibraryArgs(limits=StoredLimits(audio_s=1000, video_s=2000)),
)


def source(kind: MediaKind, seconds: float, *, stored: bool = False) -> MediaSource:
    size_bytes = int(seconds * SPEECH_BYTES_PER_S)
    content = StoredContent(key="k", sha256="0" * 64, size_bytes=size_bytes) if stored else None
    data = b"" if stored else b"x" * size_bytes
    return MediaSource(kind=kind, data=data, param="input", stored=content)


@pytest.mark.parametrize(
    ("sources", "further_s"),
    [
        ([], 0),
        ([source(MediaKind.AUDIO, 10)], 20),
        ([source(MediaKind.AUDIO, 10), source(MediaKind.VIDEO, 1)], 22),
        ([source(MediaKind.AUDIO, 101)], 200),
        ([source(MediaKind.VIDEO, 500, stored=True)], 1000),
        ([source(MediaKind.AUDIO, 5000, stored=True)], 2000),
        ([source(MediaKind.IMAGE, 10)], 0),
        ([source(MediaKind.DOCUMENT, 10, stored=True)], 20),
        ([source(MediaKind.DOCUMENT, 1000)], 2 * 16 * SCANNED_PAGE_S),
    ],
)
def test_the_deadline_grows_with_what_plays_up_to_the_limits(
    sources: list[MediaSource], further_s: float
) -> None:
    ctx = RequestContext(request_id="r", tenant="local", deadline_s=1000.0)
    assert allowing(ctx, sources, ARGS).deadline_s == pytest.approx(1000.0 + further_s)
