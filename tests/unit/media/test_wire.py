"""Headers between the pool and its workers: what is malformed is refused."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.errors import MultimodalError, StageUnavailable
from multimodal.media import wire

VIDEO = {"status": "video", "rows": 4, "columns": 6, "times_s": [0.5], "cuts_s": [], "duration_s": 2.0} | {
    "width": 60,
    "height": 40,
    "format": "mp4",
    "samples": 0,
}
DOCUMENT = {"status": "document", "text_bytes": 10, "sizes": [[0, 0]], "page_count": 1, "format": "pdf"}


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
    header = VIDEO | {"cuts_s": cuts_s}
    with pytest.raises(ValueError, match="cuts_s"):
        wire.parse_reply(json.dumps(header).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"text_bytes": 0},
        {"text_bytes": 16 * 1024 * 1024 + 1},
        {"sizes": []},
        {"sizes": [[1, 1]] * 257},
        {"sizes": [[1]]},
        {"sizes": [[-1, 1]]},
        {"page_count": 0},
        {"text": "in the header"},
    ],
)
def test_headers_of_documents_are_checked(change: dict[str, object]) -> None:
    assert isinstance(wire.parse_reply(json.dumps(DOCUMENT).encode()), wire.DocumentReply)
    with pytest.raises(ValueError, match=r"."):
        wire.parse_reply(json.dumps(DOCUMENT | change).encode())


def test_the_longest_header_of_a_document_fits() -> None:
    reply = wire.DocumentReply(text_bytes=10**7, sizes=[[1280, 1280]] * 256, page_count=10**6, format="pdf")
    assert len(wire.frame_header(reply)) < wire.HEADER_MAX_BYTES


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
