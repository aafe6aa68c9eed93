"""Where the pictures of one request are encoded: in VisionTower, or in the engine that keeps its own tower.

vLLM takes either pixels or embeddings of all pictures in a prompt, so they go one way together: the decision
waits until the size of each is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from multimodal.generation.bypass import BypassPolicy, Route, image_tokens
from multimodal.types import ImageFeatures, VideoFeatures


class Crossing:
    """Of one request; of one event loop."""

    def __init__(
        self,
        policy: BypassPolicy,
        params: Iterable[str],
        *,
        max_pixels: int | None,
        engine_queue: Callable[[], int],
    ) -> None:
        """`params`: where the pictures and videos stand in the request."""
        self._policy = policy
        self._missing = set(params)
        self._max_pixels = max_pixels
        self._engine_queue = engine_queue
        self._tokens = 0
        self._known = True
        self._route: asyncio.Future[Route] = asyncio.get_running_loop().create_future()

    async def to_tower(
        self, param: str, features: ImageFeatures | VideoFeatures | None, *, known: bool
    ) -> bool:
        """Wait until all others are there too. `known`: its embeddings are there already, and are of no use
        to an engine that is given pixels."""
        if param in self._missing:
            self._known = self._known and known
            if features is not None:
                self._tokens += _tokens(features, self._max_pixels)
            self.leave(param)
        return await asyncio.shield(self._route) is Route.TOWER

    def leave(self, param: str) -> None:
        """Nobody waits for this one any more: it is there, or it was left out."""
        self._missing.discard(param)
        if not self._missing and not self._route.done():
            decision = self._policy.decide(
                image_tokens=self._tokens, engine_queue=self._engine_queue(), cached=self._known
            )
            self._route.set_result(decision.route)


def _tokens(features: ImageFeatures | VideoFeatures, max_pixels: int | None) -> int:
    frames = (
        1 if isinstance(features, ImageFeatures) else sum(len(scene.times_s) for scene in features.scenes)
    )
    return frames * image_tokens(features.width, features.height, max_pixels)
