"""What Serve's own documentation would have one write: an ingress that streams what a handle yields.

Without `from __future__ import annotations`: FastAPI reads the types of its endpoints at run time.
"""

import json
import os
import time
from collections.abc import AsyncGenerator
from typing import cast

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from benchmarks.fanout.app import STEP_MS
from benchmarks.fanout.ticking import Ticker

MAX_ONGOING_REQUESTS = 256
"""As in our profiles. Serve's default of 5 would leave most streams waiting."""

api = FastAPI()


class Wanted(BaseModel):
    """The part of a chat request that matters here."""

    model: str
    max_tokens: int


@serve.deployment(max_ongoing_requests=MAX_ONGOING_REQUESTS)
class Engine:
    """Yields tokens."""

    def __init__(self) -> None:
        self._ticker = Ticker(1e-3 * float(os.environ[STEP_MS]))

    async def generate(self, tokens: int) -> AsyncGenerator[str, None]:
        """One text for each token."""
        async for text in self._ticker.stream(tokens):
            yield text


@serve.deployment(max_ongoing_requests=MAX_ONGOING_REQUESTS)
@serve.ingress(api)
class Ingress:
    """OpenAI's chunks, one event for each token."""

    def __init__(self, engine: DeploymentHandle) -> None:  # type: ignore[type-arg]
        self._engine = engine.options(method_name="generate", stream=True)

    @api.get("/readyz")
    async def readyz(self) -> dict[str, str]:
        """Asked by the launcher."""
        return {"status": "ready"}

    @api.post("/v1/chat/completions")
    async def chat(self, wanted: Wanted) -> StreamingResponse:
        """The answer to a chat."""
        return StreamingResponse(self._events(wanted), media_type="text/event-stream")

    async def _events(self, wanted: Wanted) -> AsyncGenerator[str, None]:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": int(time.time())}
        head["model"] = wanted.model
        texts = cast("DeploymentResponseGenerator[str]", self._engine.remote(wanted.max_tokens))
        async for text in texts:
            choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
            yield f"data: {json.dumps(head | {'choices': [choice]})}\n\n"
        yield "data: [DONE]\n\n"


def app(args: dict[str, str]) -> Application:
    """What the configuration names."""
    application: Application = Ingress.bind(Engine.bind())  # type: ignore[attr-defined]
    return application
