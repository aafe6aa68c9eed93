"""A server that speaks as much of OpenAI's API as these benchmarks ask for, and encodes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from typing import cast

from aiohttp import web


class FakeServer:
    """Counts what it is asked; `encode_s` is told for what is new, nothing for what it has seen."""

    def __init__(
        self, *, shares: bool = True, encode_s: float = 0.2, fails: bool = False, stalls: bool = False
    ) -> None:
        self.encoded: Counter[str] = Counter()
        self.bodies: list[dict[str, object]] = []
        self.running = self.most_running = 0
        self._shares = shares
        self._encode_s = encode_s
        self._fails = fails
        self._stalls = stalls
        self._seen: set[str] = set()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_get("/metrics", self._metrics)
        return app

    def _see(self, body: dict[str, object]) -> bool:
        """Whether the medium of a request is known already."""
        digest = hashlib.sha256(json.dumps(body["input"] if "input" in body else body["messages"]).encode())
        known = self._shares and digest.hexdigest() in self._seen
        self._seen.add(digest.hexdigest())
        if not known:
            self.encoded["ImageEncoder"] += 1
        return known

    async def _body(self, request: web.Request) -> dict[str, object]:
        body = cast("dict[str, object]", await request.json())
        self.bodies.append(body)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        return body

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        if self._fails:
            return web.Response(status=503, text="restarting")
        known = self._see(body)
        if not body.get("stream"):
            return web.json_response({})
        response = web.StreamResponse()
        await response.prepare(request)
        seconds = 0.001 if known else self._encode_s
        stages = [{"stage": "load", "seconds": 0.1}, {"stage": "encode", "seconds": seconds, "cached": known}]
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 0}}
        chunks: list[dict[str, object]] = [
            {"choices": [{"delta": {"content": ""}}]},
            {"choices": [{"delta": {"content": "a"}}]},
            {"choices": [{"delta": {"content": "b"}}]},
            {"choices": [], "stages": stages},
            {"choices": [], "usage": usage},
        ]
        for chunk in chunks:
            if self._stalls and "stages" in chunk:
                await asyncio.Event().wait()
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        return response

    async def _embed(self, request: web.Request) -> web.Response:
        self._see(await self._body(request))
        return web.json_response({})

    async def _metrics(self, request: web.Request) -> web.Response:
        lines = ["# TYPE multimodal_encoded_items counter"]
        for encoder, count in self.encoded.items():
            labels = f'deployment="{encoder}",encoder="{encoder}",modality="image"'
            lines.append(f"multimodal_encoded_items_total{{{labels}}} {float(count)}")
        return web.Response(text="\n".join([*lines, "# EOF", ""]))
