"""Server-sent events: those of a streamed chat (OpenAI's chunks), and what all streams share.

This is the token path. What is constant in a request is formatted once; for a token only its text is.
JSON is plain ASCII, so that no client takes an exotic line separator in a text for the end of a line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from multimodal.api.responses import ChatUsage, MediaNote, StageTime, cited
from multimodal.errors import MultimodalError, envelope
from multimodal.types import Delta, Sources, StageEvent, Usage

DONE = b"data: [DONE]\n\n"

to_json = json.JSONEncoder(separators=(",", ":")).encode
"""Compact and plain ASCII."""


def data_event(value: object) -> bytes:
    """One event with this value as JSON."""
    return f"data: {to_json(value)}\n\n".encode()


def error_event(error: MultimodalError) -> bytes:
    """The last event of a stream that fails."""
    return b"data: " + envelope(error) + b"\n\n"


def stage_fields(event: StageEvent, label: str) -> dict[str, object]:
    """What a client is told when a stage is entered (seconds is null) or left."""
    cached: dict[str, object] = {"cached": True} if event.cached else {}
    return {"stage": event.stage, "param": event.param, "label": label, "seconds": event.seconds, **cached}


class ChunkWriter:
    """Formats the chunks of one completion."""

    def __init__(self, *, completion_id: str, created: int, model: str, include_usage: bool) -> None:
        head = {"id": completion_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = f'data: {to_json(head)[:-1]},"choices":'
        # As OpenAI: every chunk but the last has a null there, once usage was asked for.
        self._tail = ',"usage":null}\n\n' if include_usage else "}\n\n"
        self._started: set[int] = set()
        self._finished: set[int] = set()

    def deltas(self, deltas: Sequence[Delta], notes: Sequence[MediaNote] = ()) -> bytes:
        """Chunks for what one engine step produced. `notes` go into the chunk that ends the first choice."""
        return "".join([self._delta(delta, notes) for delta in deltas]).encode()

    def _delta(self, delta: Delta, notes: Sequence[MediaNote]) -> str:
        text = ""
        if delta.index not in self._started:
            self._started.add(delta.index)
            text = self._choice(delta.index, '{"role":"assistant","content":"","refusal":null}')
        if delta.text:
            text += self._choice(delta.index, f'{{"content":{to_json(delta.text)}}}')
        if delta.finish_reason is not None:
            extra = "" if self._finished else _extra("media_notes", notes)
            self._finished.add(delta.index)
            text += self._choice(delta.index, "{}", to_json(delta.finish_reason), extra)
        return text

    def _choice(self, index: int, delta: str, finish_reason: str = "null", extra: str = "") -> str:
        choice = f'{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{finish_reason}}}'
        return f"{self._head}[{choice}]{extra}{self._tail}"

    def stage(self, event: StageEvent, label: str) -> bytes:
        """A stage was entered (seconds is null) or left."""
        return self._bare(f',"stage":{to_json(stage_fields(event, label))}')

    def citations(self, sources: Sources) -> bytes:
        """What the answer stands on; an empty list: nothing relevant was found."""
        return self._bare(_extra("citations", cited(sources)) or ',"citations":[]')

    def stages(self, stages: Sequence[StageTime]) -> bytes:
        """How long every stage took."""
        return self._bare(_extra("stages", stages) or ',"stages":[]')

    def usage(self, usage: Usage) -> bytes:
        """The last chunk, where usage was asked for."""
        return f'{self._head}[],"usage":{ChatUsage.of(usage).model_dump_json()}}}\n\n'.encode()

    def _bare(self, extra: str) -> bytes:
        """A chunk without choices: OpenAI's own usage chunk is one, so clients know to pass over it."""
        return f"{self._head}[]{extra}{self._tail}".encode()


def _extra(name: str, items: Sequence[BaseModel]) -> str:
    """An extra field of a chunk; nothing where there are no items."""
    if not items:
        return ""
    values: list[Mapping[str, object]] = [item.model_dump(mode="json", exclude_unset=True) for item in items]
    return f',"{name}":{to_json(values)}'
