"""Limits on encoded media, and how errors put them into words."""

from __future__ import annotations

from multimodal.config import MIB, Limits, StoredLimits
from multimodal.errors import MediaTooLarge
from multimodal.media.formats import EXPECTED
from multimodal.types import MediaKind


def limits_of_stored(limits: Limits, stored: StoredLimits) -> Limits:
    """What holds for uploaded files: `stored`, where it says something."""
    return limits.model_copy(update=stored.model_dump())


def byte_limit(kind: MediaKind, limits: Limits) -> int:
    """Largest encoded size of one medium, bytes."""
    return {
        MediaKind.IMAGE: limits.image_bytes,
        MediaKind.AUDIO: limits.audio_bytes,
        MediaKind.VIDEO: limits.video_bytes,
        MediaKind.DOCUMENT: limits.document_bytes,
    }[kind]


def check_bytes(size_bytes: int, kind: MediaKind, limits: Limits, param: str) -> None:
    """Raises MediaTooLarge where a medium has more encoded bytes than its kind may have."""
    limit_bytes = byte_limit(kind, limits)
    if size_bytes > limit_bytes:
        raise MediaTooLarge(
            f"Here {EXPECTED[kind]} may have {readable_bytes(limit_bytes)}, this one has "
            f"{readable_bytes(size_bytes)}. Send a smaller or more compressed one.",
            param=param,
        )


def check_pixels(width: int, height: int, limits: Limits, param: str) -> None:
    """Raises MediaTooLarge where a picture or a frame has more pixels than allowed."""
    if width * height > limits.image_pixels:
        raise too_many_pixels(limits.image_pixels, param)


def too_many_pixels(limit: int, param: str) -> MediaTooLarge:
    """The error for a picture or a frame that is larger than allowed."""
    return MediaTooLarge(f"This has more than the {limit:,} pixels allowed. Send a smaller one.", param=param)


def too_long(limit_s: float, param: str) -> MediaTooLarge:
    """The error for a recording or a video that plays longer than allowed."""
    return MediaTooLarge(f"This plays longer than the {limit_s:g} s allowed. Send a part of it.", param=param)


def check_page_count(pages: int, limits: Limits, param: str) -> None:
    """Raises MediaTooLarge where a document has more pages than allowed."""
    if pages > limits.document_pages:
        raise MediaTooLarge(
            f"This document has more than the {limits.document_pages:,} pages allowed. Send a part of it.",
            param=param,
        )


def readable_bytes(size_bytes: int) -> str:
    """`20 MiB`, or plain bytes below one MiB."""
    return f"{size_bytes / MIB:.4g} MiB" if size_bytes >= MIB else f"{size_bytes:,} bytes"
