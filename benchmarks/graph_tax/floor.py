"""The floor: one uvicorn process that does the HTTP and JSON work of a chat with a picture, and nothing else.

It reads the body by the schema of our API, decodes and hashes the picture, and formats the answer of the same
generator that does nothing, in the words of our API. No graph, no cache, no keys, no metrics.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from uuid import uuid4

import httpx
import psutil
import typer
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

from benchmarks.encode_once.served import RAY_NICENESS
from benchmarks.graph_tax import noop
from multimodal.api.body import read_body
from multimodal.api.catalogue import CHAT, Catalogue
from multimodal.api.convert import ChatCall, ChatConverter
from multimodal.api.responses import AnswerMessage, ChatCompletion, ChatUsage, Choice
from multimodal.api.schemas import ChatCompletionRequest
from multimodal.api.sse import DONE, ChunkWriter
from multimodal.config import AppArgs
from multimodal.encode_once import hashed
from multimodal.errors import ConfigError
from multimodal.serving.checks import free_port
from multimodal.types import (
    GenerateRequest,
    GenerationStep,
    MediaSource,
    PromptMessage,
    RequestContext,
    Role,
    TextPart,
    Usage,
)

READY_TIMEOUT_S = 60.0
_POLL_S = 0.1


def create_app(args: AppArgs) -> FastAPI:
    """The app of that process."""
    app, catalogue = FastAPI(openapi_url=None), Catalogue(args)

    @app.get("/readyz")
    async def ready() -> Response:
        return Response(status_code=200)

    @app.post(CHAT)
    async def chat(request: Request) -> Response:
        converter = ChatConverter(args, catalogue, time.time)
        call = await read_body(request, ChatCompletionRequest, converter.convert)
        steps = _steps(call)
        await anext(steps)
        if call.stream:
            return StreamingResponse(_events(call, steps), media_type="text/event-stream")
        return Response(await _whole(call, steps), media_type="application/json")

    return app


async def _steps(call: ChatCall) -> AsyncGenerator[GenerationStep, None]:
    """The first comes when all media are hashed."""
    for message in call.request.messages:
        for part in message.parts:
            if isinstance(part, MediaSource):
                await hashed(part)
    context = RequestContext(request_id=uuid4().hex, tenant="", deadline_s=time.time() + 120)
    prompt = (PromptMessage(role=Role.USER, parts=(TextPart(text=""),)),)
    request = GenerateRequest(messages=prompt, sampling=call.request.sampling)
    async with aclosing(noop.Generator().generate(context, request, ())) as steps:
        async for step in steps:
            yield step


async def _events(call: ChatCall, steps: AsyncGenerator[GenerationStep, None]) -> AsyncGenerator[bytes, None]:
    writer = ChunkWriter(
        completion_id=_id(), created=int(time.time()), model=call.model, include_usage=call.include_usage
    )
    async for step in steps:
        yield writer.deltas(step.deltas)
        if step.usage is not None and call.include_usage:
            yield writer.usage(step.usage)
    yield DONE


async def _whole(call: ChatCall, steps: AsyncGenerator[GenerationStep, None]) -> bytes:
    texts: list[str] = []
    usage = Usage(prompt_tokens=0, completion_tokens=0, cached_tokens=0)
    async for step in steps:
        texts += [delta.text for delta in step.deltas]
        usage = step.usage or usage
    message = AnswerMessage(role="assistant", content="".join(texts), refusal=None)
    completion = ChatCompletion(
        id=_id(),
        object="chat.completion",
        created=int(time.time()),
        model=call.model,
        choices=[Choice(index=0, message=message, logprobs=None, finish_reason="length")],
        usage=ChatUsage.of(usage),
    )
    return completion.model_dump_json(exclude_unset=True).encode()


def _id() -> str:
    return f"chatcmpl-{uuid4().hex}"


@contextmanager
def running(args: AppArgs) -> Iterator[tuple[str, psutil.Process]]:
    """That process, until the block is left: its URL. Raises ConfigError when it does not become ready."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-m", __name__, str(port)], stdin=subprocess.PIPE)
    if process.stdin is not None:
        with process.stdin:
            process.stdin.write(args.model_dump_json().encode())
    try:
        _wait(process, url)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(_POLL_S)
    raise ConfigError("The uvicorn process did not become ready.")


def main(port: int) -> None:
    """Serve with the arguments on stdin until SIGTERM, at the priority that Ray gives its workers."""
    os.nice(RAY_NICENESS)
    args = AppArgs.model_validate_json(sys.stdin.buffer.read())
    uvicorn.run(create_app(args), host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    typer.run(main)
