"""Whatever goes wrong is told in OpenAI's envelope: soon, with what to change, and nothing given away.

Each row goes through the real server. None of them may hurt it: the last tests ask it something sensible.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import httpx
import openai
import pytest

from multimodal.serving.background import RunningServer
from tests import media
from tests.e2e import bad_media as bad
from tests.e2e import parts
from tests.e2e.bad_media import Part, image, picture, sound, video
from tests.e2e.conftest import MODEL
from tests.e2e.envelope import error_in, error_of, events_of

CHAT, EMBEDDINGS, CLASSIFY = "/v1/chat/completions", "/v1/embeddings", "/v1/classify"
TRANSCRIPTIONS, TRANSCRIBE = "/v1/audio/transcriptions", "/v1/audio/transcribe"
ANALYZE = "/v1/video/analyze"
SOON_S = 5.0
"""Within which every error must be told."""

MISSING = object()
"""In the place of a field that is left out."""

Fields = Mapping[str, object]
Send = Callable[[httpx.Client], httpx.Response]


@pytest.fixture(scope="module")
def soon(server: RunningServer) -> Iterator[httpx.Client]:
    """A client that does not wait long."""
    with httpx.Client(base_url=server.base_url, timeout=SOON_S) as client:
        yield client


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request that must be refused."""

    name: str
    send: Send
    status: int
    code: str
    param: str | None


def body(*content: object, **fields: object) -> dict[str, object]:
    """A chat request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": list(content) or "Hi"}], **fields}


def text(words: str) -> Part:
    return {"type": "text", "text": words}


def as_json(path: str, document: object) -> Send:
    return lambda client: client.post(path, json=document)


def raw(path: str, content: bytes) -> Send:
    return lambda client: client.post(path, content=content)


# --- what is wrong with the body -------------------------------------------------------------------


def bodies() -> Iterator[Row]:
    for name, content in (
        ("no body", b""),
        ("JSON that is cut off", b'{"model": "x"'),
        ("a trailing comma", b'{"model": "x",}'),
        ("a NUL byte in the JSON", b'{"model": "a\x00b"}'),
        ("NaN", b'{"temperature": NaN}'),
        ("no UTF-8", b"\xff\xfe{}"),
        ("gzip", b"\x1f\x8b\x08\x00"),
        ("deep nesting", b"[" * 100_000),
    ):
        for path in (CHAT, EMBEDDINGS, CLASSIFY):
            yield Row(
                name=f"{name} {path}", send=raw(path, content), status=400, code="invalid_json", param=None
            )
    yield Row(name="a list", send=raw(CHAT, b"[]"), status=400, code="invalid_request", param=None)
    yield Row(
        name="a body over the limit",
        send=lambda client: client.post(CHAT, content=bad.zeros(64)()),
        status=413,
        code="request_too_large",
        param=None,
    )


def fields() -> Iterator[Row]:
    def row(name: str, code: str, param: str, **fields: object) -> Row:
        return Row(name=name, send=as_json(CHAT, body(**fields)), status=400, code=code, param=param)

    def wrong(param: str, value: object) -> Row:
        return row(f"{param}: {str(value)[:30]}", "invalid_request", param, **{param: value})

    yield wrong("messages", [])
    yield wrong("messages", "Hi")
    yield wrong("messages", None)
    yield wrong("max_tokens", -1)
    yield wrong("max_tokens", 0)
    yield wrong("max_tokens", "ten")
    yield wrong("max_tokens", 8192)
    yield wrong("max_tokens", 10**30)
    yield wrong("max_completion_tokens", 100_000)
    yield wrong("min_tokens", -1)
    out_of_range: dict[str, tuple[object, ...]] = {
        "temperature": (-0.1, 2.1, "hot", True),
        "top_p": (0, 1.1, -1),
        "top_k": (-2, 1.5, 10**9),
        "min_p": (-0.1, 1.1),
        "presence_penalty": (-2.1, 2.1),
        "frequency_penalty": (-2.1, 2.1),
        "repetition_penalty": (0, 2.1),
        "n": (0, -1, 9, 10**6),
        "seed": (2**63, -(2**63) - 1, "x"),
        "stop": ("", 5, ["a"] * 17),
        "stream": ("yes", 1),
        "stream_options": ([], "usage"),
        "response_format": ("json", {"type": "xml"}),
    }
    for param, values in out_of_range.items():
        for value in values:
            yield wrong(param, value)
    unsupported: dict[str, object] = {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "functions": [{"name": "f"}],
        "logprobs": True,
        "logit_bias": {"50256": -100},
        "modalities": ["text", "audio"],
    }
    for param, value in unsupported.items():
        yield row(param, "unsupported_parameter", param, **{param: value})
    for name, schema in (("nonsense", {"type": "nonsense"}), ("a dead reference", {"$ref": "#/$defs/none"})):
        format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        param = "response_format.json_schema.schema"
        yield row(f"a schema with {name}", "invalid_request", param, response_format=format)


def messages() -> Iterator[Row]:
    def row(name: str, content: object, code: str, place: str, status: int = 400) -> Row:
        document = {"model": MODEL, "messages": [{"role": "user", "content": content}]}
        param = f"messages.0.content{place}"
        return Row(name=name, send=as_json(CHAT, document), status=status, code=code, param=param)

    yield row("no content", None, "invalid_request", "")
    yield row("a number as content", 5, "invalid_request", "")
    yield row("no parts", [], "invalid_request", "")
    yield row("NUL in a text", "a\0b", "invalid_request", "")
    yield row("NUL in a part", [text("a\0b")], "invalid_request", ".0.text")
    yield row("a text that is a number", [{"type": "text", "text": 5}], "invalid_request", ".0.text")
    yield row("an unknown part", [text("?"), {"type": "hologram"}], "unknown_part_type", ".1")
    yield row("a part without type", [{"text": "?"}], "unknown_part_type", ".0")
    yield row("embeddings", [{"type": "image_embeds", "image_embeds": "AAAA"}], "unknown_part_type", ".0")
    yield row(
        "a picture without address",
        [{"type": "image_url", "image_url": {}}],
        "invalid_request",
        ".0.image_url.url",
    )
    yield Row(
        name="an unknown role",
        send=as_json(CHAT, {"model": MODEL, "messages": [{"role": "oracle", "content": "Hi"}]}),
        status=400,
        code="invalid_request",
        param="messages.0.role",
    )
    yield Row(
        name="an unknown model",
        send=as_json(CHAT, body(model="gpt-9")),
        status=404,
        code="model_not_found",
        param="model",
    )
    for name, words, max_tokens in (
        ("an overlong prompt", "word " * 9000, None),
        ("megabytes of prompt", "word " * 1_000_000, None),
        ("no room for the answer", "word " * 5000, 5000),
    ):
        document = body(text(words), max_tokens=max_tokens)
        yield Row(
            name=name,
            send=as_json(CHAT, document),
            status=400,
            code="context_length_exceeded",
            param="messages",
        )


# --- what is wrong with media ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BadPart:
    """One part that must be refused, second in its message."""

    name: str
    make: Callable[[], Part]
    status: int
    code: str
    place: str
    """Where in the part."""

    @property
    def param(self) -> str:
        return f"messages.0.content.1{self.place}"

    def send(self, client: httpx.Client, **fields: object) -> httpx.Response:
        return client.post(CHAT, json=body(text("What is it?"), self.make(), **fields))


def at_sight() -> Iterator[BadPart]:
    """Refused before anything is decoded."""

    def row(name: str, make: Callable[[], Part], place: str, code: str = "invalid_media") -> BadPart:
        status = 413 if code == "media_too_large" else 400
        return BadPart(name=name, make=make, status=status, code=code, place=place)

    in_image, in_sound, in_video = ".image_url.url", ".input_audio.data", ".video_url.url"
    yield row("broken base64 as a picture", lambda: image("data:image/png;base64,???"), in_image)
    yield row("broken base64 as sound", lambda: bad.spoken("UklGR***"), in_sound)
    yield row("broken base64 as a video", lambda: bad.film("data:video/mp4;base64,AAA"), in_video)
    yield row("an empty picture", lambda: picture(b""), in_image)
    yield row("an empty recording", lambda: sound(b""), in_sound)
    yield row("an empty video", lambda: video(b""), in_video)
    yield row("no data URL", lambda: image("a.png"), in_image)
    yield row("NUL bytes as an address", lambda: image("data:image/png;base64,\0\0\0\0"), in_image)
    refused = "remote_url_not_allowed"
    yield row("a remote address", lambda: image("http://127.0.0.1:8000/a.png"), in_image, refused)
    yield row("a local file", lambda: image("file:///etc/passwd"), in_image, refused)
    yield row("a video elsewhere", lambda: bad.film("https://example.com/a.mp4"), in_video, refused)
    large = "media_too_large"
    yield row("a picture of too many bytes", lambda: picture(bad.zeros(20)()), in_image, large)
    yield row("a recording of too many bytes", lambda: sound(bad.zeros(25)()), in_sound, large)


def in_the_decoder() -> Iterator[BadPart]:
    """Refused by the stage that loads."""

    def row(name: str, as_part: Callable[[bytes], Part], make: bad.Make | bytes, code: str) -> BadPart:
        def part() -> Part:
            return as_part(make if isinstance(make, bytes) else make())

        status = 413 if code == "media_too_large" else 400
        return BadPart(name=name, make=part, status=status, code=code, place="")

    def invalid(name: str, as_part: Callable[[bytes], Part], make: bad.Make | bytes) -> BadPart:
        return row(name, as_part, make, "invalid_media")

    yield invalid("a PDF as a picture", picture, bad.PDF)
    yield invalid("HTML as a picture", picture, bad.HTML)
    yield invalid("an archive as a picture", picture, bad.archive)
    yield invalid("text as a picture", picture, bad.TEXT)
    yield invalid("text as sound", sound, bad.TEXT)
    yield invalid("an archive as sound", sound, bad.archive)
    yield invalid("a picture as sound", sound, lambda: media.plain("red"))
    yield invalid("a picture as a video", video, lambda: media.plain("red"))
    yield row("sound as a video", video, bad.voice("mp4"), "no_pictures")
    yield invalid("text as a video", video, bad.TEXT)
    for format in media.PICTURE_FORMATS:
        yield invalid(f"half a {format}", picture, bad.half(partial(media.picture_with_text, "HI", format)))
    for container in media.SOUND_FORMATS:
        # AAC frames stand alone: half of a recording may be a whole one.
        cut = bad.frayed if container == "aac" else bad.half
        yield invalid(f"half a recording in {container}", sound, cut(bad.voice(container)))
    yield invalid("half a video", video, bad.half(bad.clip))
    yield invalid("a recording without samples", sound, media.wav([], rate_hz=16_000))
    yield invalid("a video without sound, as sound", sound, lambda: media.numbered_clip(10))
    yield row("a video without frames", video, bad.NO_FRAMES, "no_pictures")
    for name, as_part, make in (
        ("a drawing", picture, bad.SVG),
        ("a sound format", sound, bad.AIFF),
        ("a video format", video, bad.AVI),
        ("a codec of sound", sound, bad.unknown_sound),
        ("a codec of video", video, bad.unknown_codec),
    ):
        yield row(f"{name} that is not supported", as_part, make, "unsupported_media")
    large = "media_too_large"
    for format in media.PICTURE_FORMATS:
        yield row(f"50,000 x 50,000 pixels in a {format}", picture, media.bomb(format), large)
    yield row("a few pixels too many", picture, media.bomb("png", 10_001), large)
    yield row("31 minutes of FLAC", sound, bad.long_silence("flac"), large)
    yield row("31 minutes of Ogg", sound, bad.long_silence("ogg"), large)
    yield row("a video of six minutes", video, bad.long_clip, large)


BAD_PARTS = (*at_sight(), *in_the_decoder())


def media_rows() -> Iterator[Row]:
    for part in BAD_PARTS:
        yield Row(name=part.name, send=part.send, status=part.status, code=part.code, param=part.param)
    for count in (33, 1000):
        pictures = [picture(media.plain("red"))] * count
        yield Row(
            name=f"{count} pictures",
            send=as_json(CHAT, body(*pictures)),
            status=413,
            code="media_too_large",
            param="messages",
        )


# --- other endpoints -------------------------------------------------------------------------------


def embeddings() -> Iterator[Row]:
    def row(name: str, param: str, status: int = 400, code: str = "invalid_request", **fields: object) -> Row:
        document = {"model": "text", **fields}
        return Row(
            name=f"embeddings: {name}",
            send=as_json(EMBEDDINGS, document),
            status=status,
            code=code,
            param=param,
        )

    yield row("no input", "input")
    yield row("null", "input", input=None)
    yield row("an empty text", "input", input="")
    yield row("no texts", "input", input=[])
    yield row("an empty text among others", "input.1", input=["a", ""])
    yield row("a number", "input", input=5)
    yield row("tokens", "input", input=[[1, 2]])
    yield row("NUL", "input", input="a\0b")
    yield row("too many texts", "input", input=["a"] * 2049)
    yield row("an overlong text", "input.1", input=["a", "word " * 1000])
    yield row("megabytes of text", "input.1", input=["a", "word " * 1_000_000])
    yield row("another space", "space", input="a", space="clip")
    yield row("an unknown format", "encoding_format", input="a", encoding_format="hex")
    yield row("other dimensions", "dimensions", input="a", dimensions=7)
    yield row("the generator", "model", 404, "model_not_found", input="a", model=MODEL)
    yield row("an unknown model", "model", 404, "model_not_found", input="a", model="none")


def embedded_media() -> Iterator[Row]:
    """What is said of a part is the same as in chat: one row of each kind is enough."""

    def row(name: str, make: Callable[[], list[object]], code: str, param: str) -> Row:
        def send(client: httpx.Client) -> httpx.Response:
            return client.post(EMBEDDINGS, json={"model": "text", "input": make()})

        status = 413 if code == "media_too_large" else 400
        return Row(name=f"embeddings: {name}", send=send, status=status, code=code, param=param)

    red, large = partial(media.plain, "red"), "media_too_large"
    yield row("an unknown part", lambda: ["a", {"type": "hologram"}], "unknown_part_type", "input.1")
    yield row("an empty part", lambda: [text("")], "invalid_request", "input.0.text")
    yield row("a number", lambda: ["a", 5], "invalid_request", "input.1")
    yield row(
        "broken base64",
        lambda: ["a", image("data:image/png;base64,???")],
        "invalid_media",
        "input.1.image_url.url",
    )
    yield row(
        "a remote address",
        lambda: [image("https://example.com/a.png")],
        "remote_url_not_allowed",
        "input.0.image_url.url",
    )
    yield row("no picture", lambda: ["a", picture(red()), picture(bad.TEXT)], "invalid_media", "input.2")
    yield row("half a video", lambda: ["a", video(bad.half(bad.clip)())], "invalid_media", "input.1")
    yield row("a bomb", lambda: [picture(media.bomb("png"))], large, "input.0")
    yield row("33 pictures", lambda: [picture(red())] * 33, large, "input")
    yield row("silence", lambda: ["a", sound(media.silence(1))], "invalid_request", "input.1")
    yield row(
        "a text that is too long beside a picture",
        lambda: [picture(red()), "word " * 1000],
        "invalid_request",
        "input.1",
    )


def classification() -> Iterator[Row]:
    def row(name: str, param: str, code: str = "invalid_request", status: int = 400, **fields: object) -> Row:
        def send(client: httpx.Client) -> httpx.Response:
            whole = {"input": picture(media.plain("red")), "labels": ["red", "blue"], **fields}
            made = {name: value() if callable(value) else value for name, value in whole.items()}
            given = {name: value for name, value in made.items() if value is not MISSING}
            return client.post(CLASSIFY, json=given)

        return Row(name=f"classify: {name}", send=send, status=status, code=code, param=param)

    unknown = "unknown_part_type"
    yield row("no input", "input", input=MISSING)
    yield row("a word", "input", unknown, input="red")
    yield row("a text", "input", unknown, input=text("red"))
    yield row("a recording", "input", unknown, input=bad.spoken("AAAA"))
    yield row("several pictures", "input", unknown, input=[])
    yield row(
        "broken base64",
        "input.image_url.url",
        "invalid_media",
        input=image("data:image/png;base64,???"),
    )
    yield row("no picture", "input", "invalid_media", input=picture(bad.TEXT))
    yield row("a bomb", "input", "media_too_large", 413, input=lambda: picture(media.bomb("png")))
    yield row("no labels", "labels", labels=MISSING)
    yield row("one label", "labels", labels=["red"])
    yield row("a label twice", "labels", labels=["red", "blue", "red"])
    yield row("too many labels", "labels", labels=[str(number) for number in range(1001)])
    yield row("an empty label", "labels.1", labels=["red", ""])
    yield row("NUL in a label", "labels.1", labels=["red", "a\0b"])
    yield row("an overlong label", "labels.1", labels=["red", "word " * 1000])
    yield row("a template without a place", "template", template="a photo")
    yield row("a template with two places", "template", template="{} {}")
    yield row("the generator", "model", "model_not_found", 404, model=MODEL)
    yield row("an unknown model", "model", "model_not_found", 404, model="none")


def forms() -> Iterator[Row]:
    def row(
        name: str,
        path: str,
        make: bad.Make | bytes | None,
        code: str,
        param: str | None = "file",
        **data: str,
    ) -> Row:
        def send(client: httpx.Client) -> httpx.Response:
            if make is None:
                # Without files httpx would send another kind of form.
                files = [(name, (None, value)) for name, value in data.items()] or [("none", (None, ""))]
                return client.post(path, files=files)
            content = make if isinstance(make, bytes) else make()
            return client.post(path, files={"file": ("a", content)}, data=data)

        status = {"media_too_large": 413, "model_not_found": 404}.get(code, 400)
        return Row(name=f"{path}: {name}", send=send, status=status, code=code, param=param)

    wav, whisper = bad.voice("wav"), {"model": "whisper-1"}
    for path, data in ((TRANSCRIPTIONS, whisper), (TRANSCRIBE, {})):
        yield row("no file", path, None, "invalid_request", **data)
        yield row("an empty file", path, b"", "invalid_media", **data)
        yield row("text", path, bad.TEXT, "invalid_media", **data)
        yield row("half a recording", path, bad.half(wav), "invalid_media", **data)
        yield row("no samples", path, media.wav([], rate_hz=8000), "invalid_media", **data)
        yield row("an unknown codec", path, bad.unknown_sound, "unsupported_media", **data)
        yield row("too many bytes", path, bad.zeros(25), "media_too_large", **data)
        yield row("31 minutes", path, bad.long_silence("flac"), "media_too_large", **data)
        yield row("an unknown language", path, wav, "invalid_request", "language", language="elvish", **data)
        yield row("an unknown model", path, wav, "model_not_found", "model", model="none")
    yield row("no model", TRANSCRIPTIONS, wav, "invalid_request", "model")
    yield row(
        "a hot temperature", TRANSCRIPTIONS, wav, "invalid_request", "temperature", temperature="2", **whisper
    )
    yield row(
        "an unknown format",
        TRANSCRIPTIONS,
        wav,
        "invalid_request",
        "response_format",
        response_format="pdf",
        **whisper,
    )
    yield row(
        "captions as a stream",
        TRANSCRIPTIONS,
        wav,
        "invalid_request",
        "stream",
        response_format="srt",
        stream="true",
        **whisper,
    )
    yield Row(
        name="a transcription of JSON",
        send=as_json(TRANSCRIPTIONS, {}),
        status=400,
        code="invalid_request",
        param=None,
    )
    for param, value in (
        ("max_frames", "0"),
        ("max_frames", "65"),
        ("frame_sampling", "all"),
        ("temperature", "3"),
    ):
        yield row(f"{param}={value}", ANALYZE, bad.clip, "invalid_request", param, **{param: value})
    yield row("no file", ANALYZE, None, "invalid_request")
    yield row("an empty file", ANALYZE, b"", "invalid_media")
    yield row("a picture", ANALYZE, lambda: media.plain("red"), "invalid_media")
    yield row("half a video", ANALYZE, bad.half(bad.clip), "invalid_media")
    yield row("an unknown codec", ANALYZE, bad.unknown_codec, "unsupported_media")
    yield row("too many bytes", ANALYZE, bad.zeros(50), "media_too_large")
    yield row("six minutes", ANALYZE, bad.long_clip, "media_too_large")
    for name, path, document, param in (
        ("broken base64", TRANSCRIBE, {"input_audio": {"data": "???"}}, "input_audio.data"),
        ("an empty recording", TRANSCRIBE, {"input_audio": {"data": ""}}, "input_audio.data"),
        ("broken base64", ANALYZE, {"video_url": {"url": "data:video/mp4;base64,???"}}, "video_url.url"),
    ):
        yield Row(
            name=f"{path}: {name}",
            send=as_json(path, document),
            status=400,
            code="invalid_media",
            param=param,
        )
    yield Row(
        name="nothing to analyse",
        send=as_json(ANALYZE, {}),
        status=400,
        code="invalid_request",
        param="video_url",
    )


def routes() -> Iterator[Row]:
    def row(method: str, path: str, status: int, code: str, param: str | None = None, **headers: str) -> Row:
        return Row(
            name=f"{method} {path} {headers or ''}",
            send=lambda client: client.request(method, path, headers=headers),
            status=status,
            code=code,
            param=param,
        )

    yield row("GET", CHAT, 405, "method_not_allowed")
    yield row("PUT", EMBEDDINGS, 405, "method_not_allowed")
    yield row("GET", CLASSIFY, 405, "method_not_allowed")
    yield row("DELETE", "/v1/models", 405, "method_not_allowed")
    yield row("GET", "/", 404, "not_found")
    yield row("POST", "/v1/chat/completions/", 404, "not_found")
    yield row("GET", "/v1/nothing", 404, "not_found")
    yield row("GET", "/docs", 404, "not_found")
    yield row("GET", "/v1/%00", 404, "not_found")
    yield row("GET", "/../../etc/passwd", 404, "not_found")
    yield row("GET", "/v1/models/none", 404, "model_not_found", "model")
    yield row("GET", "/v1/models", 403, "forbidden", host="evil.example")
    yield row("GET", "/v1/models", 403, "forbidden", origin="https://evil.example")


ROWS = (
    *bodies(),
    *fields(),
    *messages(),
    *media_rows(),
    *embeddings(),
    *embedded_media(),
    *classification(),
    *forms(),
    *routes(),
)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_what_is_wrong_is_told(soon: httpx.Client, row: Row) -> None:
    response = row.send(soon)
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (row.status, row.code, row.param)


@pytest.mark.parametrize("part", [pytest.param(part, id=part.name) for part in BAD_PARTS])
def test_a_stream_of_which_nothing_was_sent_has_the_status_of_its_error(
    soon: httpx.Client, part: BadPart
) -> None:
    response = part.send(soon, stream=True)
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (part.status, part.code, part.param)


@pytest.mark.parametrize("part", [pytest.param(part, id=part.name) for part in in_the_decoder()])
def test_a_stream_that_has_begun_ends_with_the_error(soon: httpx.Client, part: BadPart) -> None:
    """httpx raises when the server does not end the stream cleanly."""
    response = part.send(soon, stream=True, stream_options={"include_stages": True})
    assert response.status_code == 200
    first, *_, last = events_of(response.text.splitlines())
    assert json.loads(first)["stage"]["label"].startswith("loading")
    error = error_in(last)
    assert (error["code"], error["param"]) == (part.code, part.param)


def test_it_serves_as_before(http: httpx.Client, client: openai.OpenAI) -> None:
    assert http.get("/readyz").status_code == 200
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            parts.user(
                parts.picture(media.picture_with_text("TOTAL 42 EUR")), parts.words("What is the total?")
            )
        ],
        max_tokens=32,
    )
    assert "42" in (answer.choices[0].message.content or "")
