from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.api.form import Form
from multimodal.filenames import MAX_CHARS, clean_filename


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.txt", "a.txt"),
        ("/etc/passwd", "passwd"),
        ("folder/", "folder"),
        ("C:\\x\\y.png", "y.png"),
        ("", "upload"),
        ("...", "..."),
        ("..", "upload"),
        ('a"b\r\n.txt', "a_b__.txt"),
        ("a\u202egnp.exe", "a_gnp.exe"),
        ("caf\udce9", "caf?"),
        ("Grüße 你好 🎉.txt", "Grüße 你好 🎉.txt"),
        ("x" * 300 + ".jpeg", "x" * 250 + ".jpeg"),
        ("." + "x" * 300, "." + "x" * 254),
    ],
)
def test_what_is_kept_of_a_name(name: str, kept: str) -> None:
    assert clean_filename(name) == kept


@given(st.text())
def test_it_can_be_shown_and_done_twice(name: str) -> None:
    cleaned = clean_filename(name)
    assert cleaned
    assert len(cleaned) <= MAX_CHARS
    assert clean_filename(cleaned) == cleaned


@given(st.text())
def test_a_form_carries_it_unchanged(name: str) -> None:
    cleaned = clean_filename(name)
    form = Form(b"x", (), 10)
    head = f'Content-Disposition: form-data; name="file"; filename="{cleaned}"'
    form.feed(f"--x\r\n{head}\r\n\r\nabc\r\n--x--\r\n".encode())

    assert form.filename is not None
    assert clean_filename(form.filename) == cleaned
