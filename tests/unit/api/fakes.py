"""A service whose answers are written down beforehand, and a caller that speaks ASGI message by message."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypedDict, Unpack, cast

import httpx
import numpy as np
from starlette.types import ASGIApp, Message

from multimodal.library.records import Retrieval
from multimodal.types import (
    AnalysisEvent,
    AnalysisRequest,
    ChatEvent,
    ChatRequest,
    Classification,
    ClassifyRequest,
    Delta,
    Embeddings,
    Emit,
    FileReference,
    GenerationStep,
    LabelScore,
    MediaSource,
    RequestContext,
    StageEvent,
    StageState,
    Transcript,
    TranscriptPart,
    TranscriptSegment,
    TranscriptWord,
    Usage,
)
from tests.unit.api.library_fakes import FakeLibrary

NOW_S = 1_700_000_000.0
MODEL = "smollm2-135m-instruct"
USAGE = Usage(prompt_tokens=11, completion_tokens=3, cached_tokens=4)
ACCEPTED = GenerationStep()
DIMENSIONS = 8

Item = ChatEvent | Exception | asyncio.Event
"""An event to yield, an error to raise, or something to wait for."""
AnalysisItem = AnalysisEvent | Exception | asyncio.Event


def tokens(*texts: str, index: int = 0) -> list[GenerationStep]:
    """One step for each text."""
    return [GenerationStep(deltas=(Delta(index=index, text=text, tokens=1),)) for text in texts]


def end(reason: str = "stop", index: int = 0) -> GenerationStep:
    """The last step of an answer with one choice."""
    return GenerationStep(deltas=(Delta(index=index, text="", tokens=0, finish_reason=reason),), usage=USAGE)


ANSWER = (ACCEPTED, *tokens("Hel", "lo"), end())
HELLO: tuple[Item, ...] = ANSWER


def segment(text: str, start_s: float, end_s: float) -> TranscriptSegment:
    """A segment whose words share its time equally, with the token 7 each."""
    texts = text.split()
    step_s = (end_s - start_s) / max(1, len(texts))
    words = (
        TranscriptWord(
            text=f" {word}",
            start_s=start_s + step_s * index,
            end_s=start_s + step_s * (index + 1),
            probability=0.5,
            tokens=(7,),
        )
        for index, word in enumerate(texts)
    )
    return TranscriptSegment(text=f" {text}", start_s=start_s, end_s=end_s, words=tuple(words))


def transcript(*segments: TranscriptSegment, duration_s: float = 12.5) -> Transcript:
    return Transcript(segments=segments, language="en", duration_s=duration_s)


SPOKEN = (segment("Hello there.", 0.5, 2.0), segment("Good bye!", 10.0, 12.0))
HEARD: tuple[AnalysisEvent, ...] = (
    *(TranscriptPart(segments=(item,)) for item in SPOKEN),
    transcript(*SPOKEN),
)


CLASSIFIED = Classification(
    results=(
        LabelScore(label="a cat", score=0.75, similarity=0.5),
        LabelScore(label="a dog", score=0.25, similarity=-0.125),
    ),
    tokens=8,
)


@dataclass
class FakeService:
    """Plays `script` to every chat and `analysis` to what is analysed, and remembers what it was asked."""

    script: Sequence[Item] = HELLO
    analysis: Sequence[AnalysisItem] = ()
    """Empty: a recording is heard, and an answer follows where there is a question."""
    stages: Mapping[str, StageState] = field(default_factory=lambda: {"Generator": StageState.READY})
    contexts: list[RequestContext] = field(default_factory=list)
    requests: list[ChatRequest] = field(default_factory=list)
    analyzed: list[AnalysisRequest] = field(default_factory=list)
    inputs: list[str | MediaSource | FileReference] = field(default_factory=list)
    """What was embedded."""
    classified: list[ClassifyRequest] = field(default_factory=list)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when what was asked for waits."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when what was asked for has ended, in whatever way."""
    ended_in: list[asyncio.Task[object] | None] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """What vectors and classes wait for."""
    library: FakeLibrary = field(default_factory=FakeLibrary)
    retrievals: list[Retrieval | None] = field(default_factory=list)

    async def chat(
        self, ctx: RequestContext, request: ChatRequest, retrieval: Retrieval | None = None
    ) -> AsyncGenerator[ChatEvent, None]:
        self.contexts.append(ctx)
        self.requests.append(request)
        self.retrievals.append(retrieval)
        async with aclosing(cast(AsyncGenerator[ChatEvent, None], self._play(self.script))) as events:
            async for event in events:
                yield event

    async def analyze(
        self, ctx: RequestContext, request: AnalysisRequest
    ) -> AsyncGenerator[AnalysisEvent, None]:
        self.contexts.append(ctx)
        self.analyzed.append(request)
        script = self.analysis or ((*HEARD, *ANSWER) if request.question is not None else HEARD)
        async with aclosing(cast(AsyncGenerator[AnalysisEvent, None], self._play(script))) as events:
            async for event in events:
                yield event

    async def _play(self, script: Sequence[Item | AnalysisItem]) -> AsyncGenerator[object, None]:
        try:
            for item in script:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, asyncio.Event):
                    self.waiting.set()
                    await item.wait()
                else:
                    yield item
        finally:
            self.ended_in.append(asyncio.current_task())
            self.closed.set()

    async def embed(
        self, ctx: RequestContext, inputs: Sequence[str | MediaSource | FileReference], emit: Emit
    ) -> Embeddings:
        self.contexts.append(ctx)
        self.inputs.extend(inputs)
        for source in inputs:
            if isinstance(source, MediaSource):
                emit(StageEvent(stage="encode", param=source.param))
                emit(StageEvent(stage="encode", param=source.param, seconds=0.5))
        await self._wait()
        return Embeddings(vectors=vectors(len(inputs)), tokens=2 * len(inputs))

    async def classify(self, ctx: RequestContext, request: ClassifyRequest, emit: Emit) -> Classification:
        self.contexts.append(ctx)
        self.classified.append(request)
        emit(StageEvent(stage="encode", param=request.source.param, seconds=0.5))
        await self._wait()
        return CLASSIFIED

    async def _wait(self) -> None:
        try:
            if self.gate is not None:
                self.waiting.set()
                await self.gate.wait()
        finally:
            self.closed.set()

    async def states(self) -> Mapping[str, StageState]:
        return self.stages

    async def metrics(self) -> Mapping[str, Mapping[str, str]]:
        return {}


def vectors(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """What the fake embeds the first `count` texts as: row i is the unit vector of axis i."""
    return np.eye(count, DIMENSIONS, dtype=np.float32)


def chat_body(*parts: object, **fields: object) -> dict[str, object]:
    """A chat request with one user message: the parts, or a greeting."""
    return {"model": MODEL, "messages": [{"role": "user", "content": list(parts) or "Hi"}], **fields}


def text_part(text: str = "Hi") -> dict[str, object]:
    return {"type": "text", "text": text}


def image_part(data: bytes = b"picture", **fields: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": data_url(data, "image/png"), **fields}}


def audio_part(data: bytes = b"sound", format: str = "wav") -> dict[str, object]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": format}}


def video_part(data: bytes = b"film", **fields: object) -> dict[str, object]:
    return {"type": "video_url", "video_url": {"url": data_url(data, "video/mp4"), **fields}}


Fields = Mapping[str, str | list[str]]
"""Text fields of a form."""


def form_body(fields: Fields, file: bytes | None = b"sound") -> tuple[bytes, dict[str, str]]:
    """A multipart form with a file, and the header that belongs to it. Lists are sent as `name[]`."""
    parts: list[tuple[str, tuple[str | None, bytes | str, str | None]]] = []
    for name, value in fields.items():
        items = value if isinstance(value, list) else [value]
        key = f"{name.removesuffix('[]')}[]" if isinstance(value, list) else name
        parts += [(key, (None, item, None)) for item in items]
    if file is not None:
        parts.append(("file", ("talk.wav", file, "audio/wav")))
    request = httpx.Request("POST", "http://localhost", files=parts)
    return request.read(), {"content-type": request.headers["content-type"]}


def data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


class Caller:
    """One HTTP request, driven by hand: a client that can wait, look at what was sent so far, and go away."""

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        body: bytes | Mapping[str, object] = b"",
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        client: tuple[str, int] | None = ("127.0.0.1", 50000),
        chunk_bytes: int = 1 << 20,
        pipe_breaks_after: int = 1_000_000,
        cut: bool = False,
    ) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._chunks = [raw[at : at + chunk_bytes] for at in range(0, len(raw), chunk_bytes)] or [b""]
        self._pipe_breaks_after = pipe_breaks_after
        self._cut = cut
        self._gone = asyncio.Event()
        self._news = asyncio.Event()
        self.sent: list[Message] = []
        self.received = 0
        """Body messages that the app has asked for."""
        scope: dict[str, object] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (name.encode(), value.encode())
                for name, value in ({"host": "localhost:8000"} | dict(headers or {})).items()
            ],
            "client": client,
            "server": ("127.0.0.1", 8000),
        }
        self.task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: dict[str, object]) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._chunks:
            self.received += 1
            return {
                "type": "http.request",
                "body": self._chunks.pop(0),
                "more_body": self._cut or bool(self._chunks),
            }
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if len(self.sent) >= self._pipe_breaks_after:
            raise BrokenPipeError
        if not self._gone.is_set():
            self.sent.append(message)
            self._news.set()

    def go_away(self) -> None:
        self._gone.set()

    async def until_sent(self, text: bytes) -> None:
        """Wait until the body holds the text."""
        while text not in self.body:
            await self._news.wait()
            self._news.clear()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def status(self) -> int | None:
        """None until the status line was sent."""
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def error(self) -> dict[str, object]:
        """The error of the envelope."""
        error = json.loads(self.body)["error"]
        assert isinstance(error, dict)
        return error


class How(TypedDict, total=False):
    """How a request is sent."""

    method: str
    headers: Mapping[str, str]
    client: tuple[str, int] | None
    chunk_bytes: int
    """Size of the messages that the body comes in."""
    pipe_breaks_after: int
    """Messages that can be sent before the transport raises OSError."""
    cut: bool
    """Whether the end of the body never comes."""


async def call(
    app: ASGIApp, path: str, body: bytes | Mapping[str, object] = b"", **how: Unpack[How]
) -> Caller:
    """The same to its end."""
    caller = Caller(app, path, body, **how)
    await asyncio.wait_for(caller.task, 30)
    return caller


def events(body: bytes) -> list[dict[str, object]]:
    """The JSON of every event of a stream but [DONE]."""
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [json.loads(block[6:]) for block in blocks if block != "data: [DONE]"]
