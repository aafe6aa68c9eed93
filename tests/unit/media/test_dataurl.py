"""Data URLs and base64 as clients send them."""

from __future__ import annotations

import base64
import binascii
import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.errors import InvalidMedia, InvalidRequest, MediaTooLarge, RemoteUrlRefused
from multimodal.media.dataurl import parse_base64, parse_data_url
from tests.media import data_url

PARAM = "messages.0.content.1.image_url.url"
LIMIT = 4096


def parse(url: str, limit_bytes: int = LIMIT) -> tuple[str | None, bytes]:
    return parse_data_url(url, limit_bytes=limit_bytes, param=PARAM)


@given(st.binary(min_size=1, max_size=LIMIT))
def test_what_goes_in_comes_out(data: bytes) -> None:
    assert parse(data_url("image/png", data)) == ("image/png", data)
    assert parse_base64(base64.b64encode(data).decode(), limit_bytes=LIMIT, param=PARAM) == data


@pytest.mark.parametrize(
    ("url", "declared"),
    [
        ("data:image/png;base64,YWJj", "image/png"),
        ("DATA:Image/PNG;BASE64,YWJj", "image/png"),
        ("data:audio/webm;codecs=opus;base64,YWJj", "audio/webm"),
        ("data:;base64,YWJj", None),
    ],
)
def test_the_declared_type_is_read(url: str, declared: str | None) -> None:
    assert parse(url)[0] == declared


def test_escaped_base64_is_read() -> None:
    data = b"\xfb\xef\xff\xfe"
    escaped = base64.b64encode(data).decode().replace("+", "%2B").replace("/", "%2f").replace("=", "%3D")
    assert "%2B" in escaped
    assert "%2f" in escaped
    assert parse(f"data:image/png;base64,{escaped}")[1] == data


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/cat.png",
        "https://example.com/cat.png",
        "HTTPS://EXAMPLE.COM/cat.png",
        "file:///etc/passwd",
        "ftp://example.com/cat.png",
        "s3://bucket/cat.png",
        "blob:https://example.com/1",
        "//example.com/cat.png",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(RemoteUrlRefused, match="data URL") as caught:
        parse(url)
    assert caught.value.param == PARAM
    assert "example.com" not in caught.value.message


@pytest.mark.parametrize("url", ["", "cat.png", "/etc/passwd", "YWJj", "data", " data:image/png;base64,YWJj"])
def test_what_is_no_url_is_invalid(url: str) -> None:
    with pytest.raises(InvalidMedia, match="not a data URL"):
        parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64",
        "data:image/png;base64" + " " * 2000 + ",YWJj",
        "data:image/png,abc",
        "data:,abc",
        "data:image/png;base64,",
    ],
)
def test_data_urls_without_base64_are_invalid(url: str) -> None:
    with pytest.raises(InvalidMedia) as caught:
        parse(url)
    assert caught.value.param == PARAM


@pytest.mark.parametrize(
    "text", ["YWJ", "YWJj=", "YW==Jj", "YW Jj", "YWJj\n", "Y-_j", "YWJ\u00e9", "====", "Y"]
)
def test_damaged_base64_is_invalid(text: str) -> None:
    with pytest.raises(InvalidMedia, match="not valid base64"):
        parse_base64(text, limit_bytes=LIMIT, param=PARAM)


@given(st.integers(1, 300), st.integers(1, 300))
def test_the_limit_is_exact(size: int, limit: int) -> None:
    text = base64.b64encode(bytes(size)).decode()
    if size <= limit:
        assert len(parse_base64(text, limit_bytes=limit, param=PARAM)) == size
    else:
        with pytest.raises(MediaTooLarge):
            parse_base64(text, limit_bytes=limit, param=PARAM)


def test_too_much_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(text: str, *, strict_mode: bool) -> bytes:
        raise AssertionError("decoded")

    monkeypatch.setattr(binascii, "a2b_base64", decode)
    with pytest.raises(MediaTooLarge, match="allowed are 4,096 bytes") as caught:
        parse_base64("A" * 8192, limit_bytes=LIMIT, param=PARAM)
    assert caught.value.param == PARAM
    assert caught.value.status == 413


@given(st.text(alphabet=string.printable + "\u00e9\ud800", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"data:{text}", f"data:image/png;base64,{text}"):
        with suppress(InvalidRequest):
            parse(url)
