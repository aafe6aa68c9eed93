"""What media may cost."""

from __future__ import annotations

import pytest

from multimodal.config import Limits, StoredLimits
from multimodal.errors import MediaTooLarge
from multimodal.media.limits import check_bytes, check_page_count, limits_of_stored
from multimodal.types import MediaKind


@pytest.mark.parametrize("kind", MediaKind)
def test_every_kind_has_a_limit_of_bytes(kind: MediaKind) -> None:
    check_bytes(1, kind, Limits(), "p")
    with pytest.raises(MediaTooLarge) as caught:
        check_bytes(1 << 40, kind, Limits(), "p")
    assert caught.value.param == "p"


def test_documents_have_a_limit_of_pages() -> None:
    check_page_count(500, Limits(), "p")
    with pytest.raises(MediaTooLarge, match="500 pages"):
        check_page_count(501, Limits(), "p")


def test_limits_of_uploaded_files_hold_where_there_are_any() -> None:
    merged = limits_of_stored(Limits(image_pixels=7, video_s=1), StoredLimits(video_s=3, document_pages=9))
    assert (merged.video_s, merged.document_pages, merged.image_pixels) == (3, 9, 7)
    assert merged.audio_bytes == StoredLimits().audio_bytes
