"""VisionTower: what ImageEncoder saw, as embeddings that Generator reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deployments.replica import ReportsMetrics, count_batch, refuse_if_late
from multimodal.config import AppArgs
from multimodal.stages import VisionBackend
from multimodal.types import GeneratorEmbedding, ImageFeatures, MediaKind, RequestContext, VideoFeatures


class VisionTower(ReportsMetrics):
    """Holds the connector. It looks words up in a table: there is nothing to batch."""

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], VisionBackend]) -> None:
        self._backend = make(args)

    async def see(
        self, ctx: RequestContext, features: ImageFeatures | VideoFeatures, moments_s: Sequence[float]
    ) -> GeneratorEmbedding:
        """Rows for a picture, or for a video."""
        refuse_if_late(ctx)
        kind = MediaKind.IMAGE if isinstance(features, ImageFeatures) else MediaKind.VIDEO
        count_batch(self, kind, 1)
        return self._backend.see(features, moments_s)
