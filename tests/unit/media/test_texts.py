"""Encodings: texts come back as they were written, and bytes that are no text are not taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.media.texts import decode_text, looks_like_text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Grüße aus Köln, schöne Straßen überall", "latin-1"),
        ("Привет мир, это обычный русский текст", "cp1251"),
        ("これは日本語の文章です。とても短いです。", "shift_jis"),
        ("plain ASCII", "ascii"),
        ("Grüße, 日本語", "utf-8"),
        ("Grüße, 日本語", "utf-8-sig"),
        ("Grüße, 日本語", "utf-16"),
        ("Grüße, 日本語", "utf-32"),
    ],
)
def test_texts_come_back_as_they_were_written(text: str, encoding: str) -> None:
    assert decode_text(text.encode(encoding)) == text


def test_line_ends_are_plain() -> None:
    assert decode_text(b"a\r\nb\rc\n") == "a\nb\nc\n"


@pytest.mark.parametrize("data", [b"\0", b"a\0b", b"\xff\xfea\0\0\0", b"\x89PNG\r\n\x1a", b"\xff\xff\xff"])
def test_other_bytes_are_no_texts(data: bytes) -> None:
    assert not looks_like_text(data)
    assert decode_text(data) is None


def test_a_stray_byte_far_inside_costs_one_character() -> None:
    text = decode_text(b"words " * 20_000 + b"\xff end")
    assert text is not None
    assert text.endswith("\ufffd end")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_text_or_not_but_never_fail(data: bytes) -> None:
    assert decode_text(data) is None or looks_like_text(data)
