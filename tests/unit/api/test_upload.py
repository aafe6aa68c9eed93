"""Forms with a file: what is taken, what is refused, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from multimodal.api import upload
from multimodal.api.content import Schema, Text
from multimodal.api.form import MAX_PARTS, MAX_TEXT_BYTES
from multimodal.api.upload import WRITE_BYTES, Uploaded, is_form, read_form
from multimodal.errors import InvalidRequest, MediaTooLarge

BOUNDARY = "frontier"
LIMIT_BYTES = 3 * WRITE_BYTES


class Inner(Schema):
    flag: bool | None = None


class Fields(Schema):
    name: Text | None = None
    share: float | None = Field(None, ge=0, le=1)
    count: int | None = None
    wanted: bool | None = None
    kinds: list[Literal["a", "b"]] | None = None
    inner: Inner | None = None


Found = tuple[Fields, Uploaded | None]


def part(
    name: str, data: bytes | str, filename: str | None = None, kind: str | None = None, *more: str
) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    headers = [disposition, *([] if kind is None else [f"Content-Type: {kind}"]), *more]
    raw = data if isinstance(data, bytes) else data.encode()
    return "\r\n".join(headers).encode() + b"\r\n\r\n" + raw


def file_part(data: bytes, kind: str | None = "audio/wav") -> bytes:
    return part("file", data, "talk.wav", kind)


def body_of(*parts: bytes) -> bytes:
    return b"".join(b"--frontier\r\n" + each + b"\r\n" for each in parts) + b"--frontier--\r\n"


class Sender:
    """Sends a body in pieces; then nothing more, or that the client is gone."""

    def __init__(self, pieces: Iterable[bytes], *, cut: bool = False) -> None:
        self._pieces = list(pieces)
        self._cut = cut
        self.left = len(self._pieces)

    async def receive(self) -> Message:
        if self.left == 0:
            return {"type": "http.disconnect"}
        piece = self._pieces[-self.left]
        self.left -= 1
        return {"type": "http.request", "body": piece, "more_body": self._cut or self.left > 0}


def request_of(
    sender: Sender, content_type: str | None = f"multipart/form-data; boundary={BOUNDARY}"
) -> Request:
    headers = [] if content_type is None else [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, sender.receive)


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)] or [b""]


async def read(body: bytes, *, size: int = 1 << 16, limit_bytes: int = LIMIT_BYTES) -> Found:
    request = request_of(Sender(pieces(body, size)))
    return await read_form(request, Fields, lambda fields, file: (fields, file), limit_bytes=limit_bytes)


async def refused(body: bytes, **how: int) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        await read(body, **how)
    return caught.value


@pytest.fixture
def spools(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SpooledTemporaryFile[bytes]]]:
    """Every temporary file that is opened."""
    opened: list[SpooledTemporaryFile[bytes]] = []

    def open_spool(max_size: int) -> SpooledTemporaryFile[bytes]:
        opened.append(tempfile.SpooledTemporaryFile(max_size=max_size))  # noqa: SIM115
        return opened[-1]

    monkeypatch.setattr(upload, "SpooledTemporaryFile", open_spool)
    yield opened
    assert opened
    assert all(spool.closed for spool in opened)


async def test_fields_and_the_file_are_read() -> None:
    fields, file = await read(
        body_of(
            part("name", "Grüße"),
            file_part(b"\r\n--frontie\r\n\0", "Audio/WAV; rate=8000"),
            part("share", "0.25"),
            part("count", "3"),
            part("wanted", "true"),
        )
    )

    assert fields == Fields(name="Grüße", share=0.25, count=3, wanted=True)
    assert file == Uploaded(data=b"\r\n--frontie\r\n\0", declared_type="audio/wav")


NEARLY_THE_END = st.lists(
    st.sampled_from([b"\r\n", b"--", b"--frontie", b"\r\n--frontie", b"-", b"\r", b"\n", b"\0", b"x"]),
    min_size=1,
).map(b"".join)
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(data=NEARLY_THE_END, name=WORDS, size=st.integers(min_value=1, max_value=400))
def test_any_file_survives_in_whatever_pieces_it_comes(data: bytes, name: str, size: int) -> None:
    fields, file = asyncio.run(read(body_of(file_part(data), part("name", name)), size=size))

    assert file is not None
    assert file.data == data
    assert fields.name == name


async def test_a_large_file_goes_through_the_disk(spools: list[SpooledTemporaryFile[bytes]]) -> None:
    data = bytes(range(256)) * 6144  # over SPOOL_BYTES
    fields, file = await read(body_of(file_part(data), part("name", "x")), limit_bytes=len(data))

    assert file is not None
    assert file.data == data
    assert fields.name == "x"
    assert len(spools) == 1


async def test_lists_and_objects_are_written_with_brackets() -> None:
    fields, _ = await read(
        body_of(
            part("kinds[]", "b"), part("inner[flag]", "true"), part("kinds[]", "a"), part("inner[x]", "1")
        )
    )

    assert fields == Fields(kinds=["b", "a"], inner=Inner(flag=True))


async def test_a_form_without_file_has_none() -> None:
    assert (await read(body_of(part("name", "x"))))[1] is None
    assert await read(b"--frontier--\r\n") == (Fields(), None)


async def test_unknown_and_empty_fields_count_as_left_out() -> None:
    fields, _ = await read(
        body_of(part("other", b"\xff\0"), part("name", ""), part("share", ""), part("a[b][c]", "1"))
    )

    assert fields == Fields()


@pytest.mark.parametrize("names", [("kinds[]", "kinds[]"), ("kinds", "kinds"), ("kinds[]", "kinds")])
async def test_a_repeated_field_is_a_list(names: tuple[str, str]) -> None:
    # OpenAPI's own way is the name alone, OpenAI's clients add brackets.
    fields, _ = await read(body_of(part(names[0], "a"), part(names[1], "b")))

    assert fields.kinds == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (body_of(part("share", "much")), "share", "share must be a valid number"),
        (body_of(part("share", "1.5")), "share", "less than or equal to 1"),
        (body_of(part("share", "nan")), "share", "finite"),
        (body_of(part("count", "1.5")), "count", "integer"),
        (body_of(part("wanted", "perhaps")), "wanted", "boolean"),
        (body_of(part("kinds[]", "c")), "kinds.0", "'a' or 'b'"),
        (body_of(part("name", "a\0b")), "name", "NUL"),
        (body_of(part("name", b"\xff")), "name", "UTF-8"),
        (body_of(part("name", "x"), part("name", "y")), "name", "must be a valid string"),
        (body_of(part("inner[flag]", "1"), part("inner", "0")), "inner", "once"),
        (body_of(part("inner[flag]", "1"), part("inner[flag]", "0")), "inner", "once"),
        (body_of(part("inner", "1"), part("inner[flag]", "0")), "inner", "once"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_wrong_values_are_named(body: bytes, param: str, words: str) -> None:
    error = await refused(body)

    assert error.status == 400
    assert error.param == param
    assert words in error.message


@pytest.mark.parametrize(
    "second",
    [file_part(b"other"), part("file", b"no file name"), part("name", b"x", "x.txt"), part("x", b"x", "")],
    ids=["another file", "without a name", "in a text field", "in an unknown field"],
)
async def test_a_second_file_is_refused(second: bytes) -> None:
    error = await refused(body_of(file_part(b"sound"), second))

    assert (error.code, error.param) == ("invalid_request", "file")


@pytest.mark.parametrize("name", ["talk.wav", ""])
async def test_an_empty_file_is_refused(name: str) -> None:
    error = await refused(body_of(part("file", b"", name)))

    assert (error.status, error.param) == (400, "file")
    assert "no data" in error.message


async def test_a_file_of_exactly_the_limit_is_taken() -> None:
    _, file = await read(body_of(file_part(b"x" * LIMIT_BYTES)))

    assert file is not None
    assert len(file.data) == LIMIT_BYTES


async def test_a_file_over_the_limit_is_refused(spools: list[SpooledTemporaryFile[bytes]]) -> None:
    error = await refused(body_of(file_part(b"x" * (LIMIT_BYTES + 1))))

    assert isinstance(error, MediaTooLarge)
    assert (error.status, error.param) == (413, "file")
    assert "786,432 bytes" in error.message


async def test_a_file_is_refused_as_soon_as_it_is_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []

    async def drain(chunks: object) -> None:
        left.append(sender.left)

    monkeypatch.setattr(upload, "_drain", drain)
    sender = Sender(pieces(body_of(file_part(b"x" * 100_000)), 1000))
    with pytest.raises(MediaTooLarge):
        await read_form(request_of(sender), Fields, lambda fields, file: None, limit_bytes=5000)

    assert left == [95]


async def test_the_rest_of_a_refused_body_is_read() -> None:
    sender = Sender(pieces(body_of(file_part(b"x" * 100_000)), 1000))
    with pytest.raises(MediaTooLarge):
        await read_form(request_of(sender), Fields, lambda fields, file: None, limit_bytes=5000)

    assert sender.left == 0


async def test_the_size_of_the_text_is_limited() -> None:
    half = "x" * (MAX_TEXT_BYTES // 2)
    error = await refused(body_of(part("name", half), part("other", half), part("third", "x")))

    assert "text of a form" in error.message


async def test_the_number_of_fields_is_limited() -> None:
    fields = [part("name", "x"), *[part("other", "x")] * (MAX_PARTS - 1)]
    assert (await read(body_of(*fields)))[0].name == "x"
    assert str(MAX_PARTS) in (await refused(body_of(*fields, part("other", "x")))).message


@pytest.mark.parametrize("size", [1, 10, 1 << 16])
@pytest.mark.parametrize("kept", [0, 10, 80, -6, -30])
async def test_a_form_that_was_cut_off_is_refused(kept: int, size: int) -> None:
    whole = body_of(file_part(b"sound of a long recording"), part("name", "x" * 50))
    error = await refused(whole[:kept], size=size)

    assert "cut off" in error.message


@pytest.mark.parametrize(
    "body",
    [
        b"no form at all",
        b"--another\r\n" + part("name", "x") + b"\r\n--another--\r\n",
        body_of(b'Content-Disposition: form-data; name="name"\r\nbad header\r\n\r\nx'),
        body_of(b": empty\r\n\r\nx"),
        body_of(b"\r\nno headers"),
        body_of(b"Content-Disposition: form-data\r\n\r\nno name"),
        body_of(part("name", "x", None, "text/plain", f"X-Long: {'x' * 10_000}")),
        body_of(part("name", "x", None, "text/plain", *[f"X-{n}: x" for n in range(100)])),
    ],
    ids=["text", "boundary", "header", "unnamed header", "none", "no name", "long header", "many headers"],
)
async def test_malformed_forms_are_refused(body: bytes) -> None:
    error = await refused(body)

    assert (error.status, error.code) == (400, "invalid_request")
    assert error.message.endswith(".")


@given(body=st.binary(max_size=300), position=st.integers(min_value=0, max_value=200))
def test_no_damage_does_more_than_an_error(body: bytes, position: int) -> None:
    whole = body_of(part("name", "x"), file_part(b"sound"), part("kinds[]", "a"))
    with suppress(InvalidRequest):
        asyncio.run(read(whole[:position] + body + whole[position + len(body) :]))


@pytest.mark.parametrize(
    ("content_type", "words"),
    [
        (None, "multipart/form-data"),
        ("application/json", "multipart/form-data"),
        ("application/x-www-form-urlencoded", "multipart/form-data"),
        ("multipart/form-data", "boundary"),
        ("multipart/form-data; boundary=", "boundary"),
        (f"multipart/form-data; boundary={'x' * 300}", "boundary"),
    ],
)
async def test_other_bodies_are_refused(content_type: str | None, words: str) -> None:
    sender = Sender([b"{}", b"rest"])
    with pytest.raises(InvalidRequest, match=words):
        await read_form(request_of(sender, content_type), Fields, lambda fields, file: None, limit_bytes=1)
    assert sender.left == 0


@pytest.mark.parametrize("content_type", ["Multipart/Form-Data; Boundary=x", "multipart/form-data"])
def test_forms_are_recognised(content_type: str) -> None:
    assert is_form(request_of(Sender([]), content_type))


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain; x=multipart/form-data"])
def test_other_bodies_are_not_taken_for_forms(content_type: str | None) -> None:
    assert not is_form(request_of(Sender([]), content_type))


async def test_a_client_that_goes_away_leaves_nothing(spools: list[SpooledTemporaryFile[bytes]]) -> None:
    body = body_of(file_part(b"x" * (2 * WRITE_BYTES)))
    sender = Sender(pieces(body[:-100], 1 << 16), cut=True)
    with pytest.raises(ClientDisconnect):
        await read_form(request_of(sender), Fields, lambda fields, file: None, limit_bytes=LIMIT_BYTES)


async def test_an_error_of_the_conversion_leaves_nothing(spools: list[SpooledTemporaryFile[bytes]]) -> None:
    def fail(fields: Fields, file: Uploaded | None) -> None:
        raise KeyError

    request = request_of(Sender([body_of(file_part(b"sound"))]))
    with pytest.raises(KeyError):
        await read_form(request, Fields, fail, limit_bytes=LIMIT_BYTES)


async def test_a_cancelled_request_waits_for_its_thread(spools: list[SpooledTemporaryFile[bytes]]) -> None:
    loop = asyncio.get_running_loop()
    task: asyncio.Task[str]
    seen: list[bool] = []

    def convert(fields: Fields, file: Uploaded | None) -> str:
        asyncio.run_coroutine_threadsafe(_cancel(), loop).result(10)
        seen.append(spools[0].closed)
        return ""

    async def _cancel() -> None:
        task.cancel()
        await asyncio.sleep(0)  # the request notices before the thread goes on
        await asyncio.sleep(0)

    request = request_of(Sender([body_of(file_part(b"sound"))]))
    task = asyncio.create_task(read_form(request, Fields, convert, limit_bytes=LIMIT_BYTES))
    with pytest.raises(asyncio.CancelledError):
        await task

    assert seen == [False]
