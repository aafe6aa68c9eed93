"""Chat requests with one small picture: each another one, or always the same."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
from PIL import Image

MODEL = "noop"
QUESTION = "What is in the picture?"
SIDE_PX = 32
"""Noise of this side is 3 kB of PNG: as much as a request with a thumbnail has."""


class Workload:
    """Bodies of POST /v1/chat/completions."""

    def __init__(self, seed: int, tokens: int) -> None:
        self._random = np.random.default_rng(seed)
        self._tokens = tokens
        self._same = self._picture()

    def fresh(self, count: int, *, stream: bool) -> list[str]:
        """Each with a picture that no other request has."""
        return [self._body(self._picture(), stream) for _ in range(count)]

    def same(self, count: int, *, stream: bool) -> list[str]:
        """All with one picture, of which everything is known after the first."""
        return [self._body(self._same, stream)] * count

    def _picture(self) -> str:
        """A PNG, base64."""
        pixels = self._random.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png", compress_level=0)
        return base64.b64encode(buffer.getvalue()).decode()

    def _body(self, picture: str, stream: bool) -> str:
        part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
        content = [part, {"type": "text", "text": QUESTION}]
        return json.dumps(
            {
                "model": MODEL,
                "max_tokens": self._tokens,
                "stream": stream,
                "messages": [{"role": "user", "content": content}],
            }
        )
