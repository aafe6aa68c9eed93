"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response

from multimodal.api.body import read_body
from multimodal.api.catalogue import CHAT
from multimodal.api.chat_stream import ChatStream
from multimodal.api.convert import ChatCall, ChatConverter, media_of
from multimodal.api.disconnect import AbortOnDisconnect
from multimodal.api.exchange import Exchange, exchange_of
from multimodal.api.openapi import CHAT_EXAMPLES, error_responses, json_body, stream_content
from multimodal.api.record import Record, StageLabels
from multimodal.api.responses import (
    AnswerMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatUsage,
    Choice,
    cited,
)
from multimodal.api.schemas import ChatCompletionRequest
from multimodal.api.sse import ChunkWriter
from multimodal.api.surface import Surface
from multimodal.errors import MultimodalError
from multimodal.types import ChatEvent, Delta, GenerationStep


def chat_router(surface: Surface) -> APIRouter:
    """The endpoint over a surface."""
    router = APIRouter(tags=["chat"])

    @router.post(
        CHAT,
        summary="Answer a conversation with text, pictures, recordings and videos",
        response_model=ChatCompletion,
        responses={200: {"content": stream_content(ChatCompletionChunk)}, **error_responses()},
        openapi_extra=json_body(ChatCompletionRequest, CHAT_EXAMPLES),
    )
    async def chat(request: Request) -> Response:
        call = await read_body(
            request,
            ChatCompletionRequest,
            ChatConverter(surface.args, surface.catalogue, surface.clock).convert,
        )
        return await ChatAnswer(surface, exchange_of(request.scope), call).respond(request)

    return router


class ChatAnswer:
    """One answer, streamed or whole."""

    def __init__(self, surface: Surface, exchange: Exchange, call: ChatCall) -> None:
        self._surface = surface
        self._exchange = exchange
        self._call = call
        self._id = f"chatcmpl-{exchange.request_id.replace('-', '')}"
        self._created = int(surface.clock())
        self._record = Record(exchange, call.skipped, metrics=surface.metrics, timer=surface.timer)

    async def respond(self, request: Request) -> Response:
        """Start the service. Raises its errors, or leaves that to the stream."""
        events = self._surface.service().chat(
            self._surface.context(self._exchange), self._call.request, self._call.retrieval
        )
        if self._call.stream:
            return self._stream(events)
        async with AbortOnDisconnect(request.receive), aclosing(events):
            body = await self._collect(events)
        return Response(body.model_dump_json(exclude_unset=True), media_type="application/json")

    def _stream(self, events: AsyncGenerator[ChatEvent, None]) -> ChatStream:
        writer = ChunkWriter(
            completion_id=self._id,
            created=self._created,
            model=self._call.model,
            include_usage=self._call.include_usage,
        )
        labels = StageLabels(media_of(self._call.request)) if self._call.include_stages else None
        return ChatStream(
            events,
            writer,
            self._record,
            self._exchange,
            labels=labels,
            include_usage=self._call.include_usage,
        )

    async def _collect(self, events: AsyncGenerator[ChatEvent, None]) -> ChatCompletion:
        choices = [_CollectedChoice() for _ in range(self._call.request.sampling.n)]
        async for event in events:
            self._record.see(event)
            if isinstance(event, GenerationStep):
                for delta in event.deltas:
                    choices[delta.index].add(delta)
        return self._completion([choice.of(index) for index, choice in enumerate(choices)])

    def _completion(self, choices: list[Choice]) -> ChatCompletion:
        usage = self._exchange.usage
        if usage is None:
            raise MultimodalError("The generator ended without an answer. Try again.")
        completion = ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._call.model,
            choices=choices,
            usage=ChatUsage.of(usage),
        )
        extras: dict[str, object] = {}
        if self._record.notes:
            extras["media_notes"] = self._record.notes
        if self._record.sources is not None:
            extras["citations"] = cited(self._record.sources)
        if self._call.include_stages:
            extras["stages"] = self._record.stages()
        return completion.model_copy(update=extras)


class _CollectedChoice:
    """One choice while it grows."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._finish_reason: str | None = None

    def add(self, delta: Delta) -> None:
        self._texts.append(delta.text)
        self._finish_reason = delta.finish_reason or self._finish_reason

    def of(self, index: int) -> Choice:
        return Choice(
            index=index,
            message=AnswerMessage(role="assistant", content="".join(self._texts), refusal=None),
            logprobs=None,
            finish_reason="length" if self._finish_reason == "length" else "stop",
        )
