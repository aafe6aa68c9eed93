"""What the contract tests send to make requests work, and cheap: what no schema can say.

A schema says which fields there are and of what type, not which models this server has, whether bytes are a
picture, or which options go together. Bodies that schemathesis makes from the schemas are completed here,
with as little change as makes them fit. Bodies that are meant to be wrong stay as they are.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TypeAlias, TypedDict

from multimodal.api.catalogue import (
    ANALYZE,
    CHAT,
    CLASSIFY,
    EMBEDDINGS,
    SEARCH,
    TRANSCRIBE,
    TRANSCRIPTIONS,
)
from multimodal.api.file_urls import FILES
from tests import media
from tests.e2e.conftest import MODEL

Body: TypeAlias = dict[str, object]


class Example(TypedDict):
    """An example of a body."""

    value: Body


class Content(TypedDict):
    """A body of one media type."""

    examples: dict[str, Example]


class RequestBody(TypedDict):
    """A body, by media type."""

    content: dict[str, Content]


class Operation(TypedDict, total=False):
    """An operation of an OpenAPI document, as far as it is looked at here."""

    requestBody: RequestBody


MAX_TOKENS = 1
MAX_ANSWERS = 2
MAX_FRAMES = 2
MAX_MEDIA = 2
MAX_LABELS = 4
MAX_QUERIES = 4
MAX_HITS = 10
DIMENSIONS = 384
WORDS = "the meeting starts at nine"


def complete(path: str, body: Body) -> None:
    """Change a body so that it can be served."""
    _COMPLETE[path](body)


def ask_nothing(body: Body) -> None:
    """Leave out the question about a recording or a video: that its answer has options is seen in chat."""
    _leave_out(body, "prompt")


def shorten(body: Body) -> None:
    """Keep the answer short, should there be one."""
    body.setdefault("max_tokens", MAX_TOKENS)
    _at_most(body, "max_tokens", MAX_TOKENS)


def _chat(body: Body) -> None:
    body["model"] = MODEL
    _shorten(body)
    _at_most(body, "n", MAX_ANSWERS)
    _complete_media(_parts(body["messages"]))
    retrieval = body.get("retrieval")
    if isinstance(retrieval, dict):
        _at_most(retrieval, "top_k", MAX_HITS)
        _leave_one_bound(retrieval.get("filters"))
    format = body.get("response_format")
    if isinstance(format, dict) and format["type"] == "json_schema":
        # Which schemas the grammar takes is its own affair.
        format["json_schema"]["schema"] = {"type": "object"}


def _parts(messages: object) -> Iterator[Body]:
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content")
        yield from content if isinstance(content, list) else []


def _embeddings(body: Body) -> None:
    body["model"] = "text"
    if body.get("dimensions") is not None:
        body["dimensions"] = DIMENSIONS
    items = body["input"]
    parts = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    _complete_media(parts)
    _have_them_speak(parts)


def _have_them_speak(parts: Iterable[Body]) -> None:
    """Where nobody speaks there is no vector."""
    for part in parts:
        if part["type"] == "input_audio":
            _set(part, "input_audio", "data", base64.b64encode(media.speech(WORDS)).decode())


def _search(body: Body) -> None:
    if isinstance(body["query"], list):
        body["query"] = body["query"][:MAX_QUERIES]
    items = body["query"] if isinstance(body["query"], list) else [body["query"]]
    parts = [item for item in items if isinstance(item, dict)]
    _complete_media(parts)
    _have_them_speak(parts)
    for part in parts:
        weight = part.get("weight")
        if isinstance(weight, int | float):
            part["weight"] = abs(weight)  # something must be looked for, and equal parts must not cancel out
    _leave_out(body, "weights")  # without similarity only words can be looked for
    _at_most(body, "top_k", MAX_HITS)
    _at_most(body, "offset", MAX_HITS)
    _leave_one_bound(body.get("filters"))


def _leave_one_bound(filters: object) -> None:
    """No schema says that the upper bound must be above the lower one."""
    if not isinstance(filters, dict):
        return
    metadata = filters.get("metadata")
    ranges = [filters.get(name) for name in ("date", "date_range", "duration_s")]
    ranges += metadata.values() if isinstance(metadata, dict) else []
    for bounds in ranges:
        if isinstance(bounds, dict):
            given = [name for name, value in bounds.items() if value is not None]
            _leave_out(bounds, *given[1:])


def _classify(body: Body) -> None:
    body["model"] = "image"
    part, labels = body["input"], body["labels"]
    if not isinstance(part, dict) or not isinstance(labels, list):
        raise TypeError("input, labels")
    _MEDIA[str(part["type"])](part)
    body["labels"] = labels[:MAX_LABELS]


def _transcription(body: Body) -> None:
    body["model"] = "whisper-1"
    body["file"] = sound()
    _name_a_language(body)
    names = ("timestamp_granularities", "timestamp_granularities[]")
    if any(body.get(name) for name in names):
        body["response_format"] = "verbose_json"
    if body.get("stream") and body.get("response_format") not in (None, "json", "text"):
        _leave_out(body, "stream")


def _transcribe(body: Body) -> None:
    body["model"] = MODEL
    if "input_audio" in body:
        _sound_part(body)
    else:
        body["file"] = sound()
    _name_a_language(body)
    _shorten(body)
    if body.get("format") not in (None, "json"):
        _leave_out(body, "prompt", "stream")


def _analyze(body: Body) -> None:
    body["model"] = MODEL
    if "video_url" in body:
        _video_part(body)
    else:
        body["file"] = film()
    _name_a_language(body)
    _shorten(body)
    _at_most(body, "max_frames", MAX_FRAMES)


def _upload(body: Body) -> None:
    body["file"] = WORDS.encode()


_COMPLETE: Mapping[str, Callable[[Body], None]] = {
    CHAT: _chat,
    EMBEDDINGS: _embeddings,
    CLASSIFY: _classify,
    TRANSCRIPTIONS: _transcription,
    TRANSCRIBE: _transcribe,
    ANALYZE: _analyze,
    SEARCH: _search,
    FILES: _upload,
}


# --- answers -----------------------------------------------------------------------------------


def _shorten(body: Body) -> None:
    body.setdefault("max_tokens", None)
    for name in ("max_tokens", "max_completion_tokens"):
        _at_most(body, name, MAX_TOKENS)
    body["max_tokens"] = body["max_tokens"] or MAX_TOKENS
    limit = body.get("max_completion_tokens") or body["max_tokens"]
    if isinstance(limit, int | float):
        _at_most(body, "min_tokens", limit)


def _at_most(body: Body, name: str, limit: float) -> None:
    value = body.get(name)
    if isinstance(value, int | float):
        body[name] = min(value, limit)


def _leave_out(body: Body, *names: str) -> None:
    for name in names:
        body.pop(name, None)


def _name_a_language(body: Body) -> None:
    if body.get("language") is not None:
        body["language"] = "en"


# --- media -------------------------------------------------------------------------------------


@cache
def sound() -> bytes:
    return media.tone(0.3, rate_hz=8000)


@cache
def film() -> bytes:
    return media.numbered_clip(frames=5)


def _complete_media(parts: Iterable[Body]) -> None:
    """Put real media into the first parts that hold some, and words into the others."""
    for number, part in enumerate(part for part in parts if part["type"] in _MEDIA):
        if number < MAX_MEDIA:
            _MEDIA[str(part["type"])](part)
        else:
            part.clear()
            part.update(type="text", text="one too many")


def _picture_part(part: Body) -> None:
    _set(part, "image_url", "url", media.data_url("image/png", media.plain("teal")))


def _sound_part(part: Body) -> None:
    _set(part, "input_audio", "data", base64.b64encode(sound()).decode())
    _set(part, "input_audio", "format", "wav")


def _video_part(part: Body) -> None:
    _set(part, "video_url", "url", media.data_url("video/mp4", film()))
    for options in (part, part["video_url"]):
        if isinstance(options, dict):
            _at_most(options, "max_frames", MAX_FRAMES)


def _file_part(part: Body) -> None:
    """Unknown ids stay as they are: that there is no such file is an answer that the document knows."""
    _at_most(part, "max_frames", MAX_FRAMES)
    file = part.get("file")
    if isinstance(file, dict) and file.get("file_data") is not None:
        file["file_data"] = media.data_url("image/png", media.plain("teal"))


def _set(part: Body, field: str, name: str, value: object) -> None:
    inside = part[field]
    if not isinstance(inside, dict):
        raise TypeError(field)
    inside[name] = value


_MEDIA: Mapping[str, Callable[[Body], None]] = {
    "image_url": _picture_part,
    "input_audio": _sound_part,
    "video_url": _video_part,
    "file": _file_part,
}
