"""Where the pictures of a request are encoded, where there is a choice: `AppArgs.may_bypass`.

VisionTower scales apart from Generator, remembers what it made, and leaves the engine to what only the engine
can do. But embeddings travel from process to process, and a small picture may be encoded sooner than that. So
the engine's own tower is used where it is faster for the one who asks and holds up nobody else.

`benchmarks/bypass.py` measures both on a machine, and says what to configure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import Counter

from multimodal.config import BypassArgs
from multimodal.generation.visuals import PIXELS_PER_TOKEN

_ROUTED = Counter(
    "multimodal_vision_route",
    "Requests with pictures, by where these are encoded (tower: VisionTower; engine: Generator) and why",
    ["route", "reason"],
)


class Route(StrEnum):
    """Where pictures are encoded."""

    TOWER = "tower"
    """In VisionTower: the engine is given embeddings."""
    ENGINE = "engine"
    """In the engine: it is given pixels."""


class Reason(StrEnum):
    """What decided."""

    FORCED = "forced"
    """The configuration."""
    CACHED = "cached"
    """The embeddings are known already."""
    BUSY = "busy"
    """Others wait for the engine's next step."""
    FEW_TOKENS = "few_tokens"
    MANY_TOKENS = "many_tokens"


@dataclass(frozen=True, slots=True)
class Decision:
    """Holds for all pictures of a request: vLLM takes pixels or embeddings of a modality, never both."""

    route: Route
    reason: Reason


class BypassPolicy:
    """Decides for each request, and counts what it decided in `multimodal_vision_route_total`."""

    def __init__(self, args: BypassArgs) -> None:
        self._args = args

    def decide(self, *, image_tokens: int, engine_queue: int, cached: bool) -> Decision:
        """Where the pictures of one request are encoded.

        Args:
            image_tokens: what all its pictures and frames take of the prompt, about: see `image_tokens`.
            engine_queue: requests under way in Generator, waiting ones among them.
            cached: whether the embeddings of all of them are known, so that nothing is left to encode.
        """
        decision = self._decide(image_tokens, engine_queue, cached)
        _ROUTED.labels(decision.route, decision.reason).inc()
        return decision

    def _decide(self, tokens: int, queue: int, cached: bool) -> Decision:
        if self._args.route != "auto":
            return Decision(Route(self._args.route), Reason.FORCED)
        if cached:
            return Decision(Route.TOWER, Reason.CACHED)
        # A step that runs the tower, too, is long, and everybody's next token waits for it.
        if queue >= self._args.engine_queue:
            return Decision(Route.TOWER, Reason.BUSY)
        if tokens <= self._args.engine_tokens:
            return Decision(Route.ENGINE, Reason.FEW_TOKENS)
        return Decision(Route.TOWER, Reason.MANY_TOKENS)


def image_tokens(width_px: int, height_px: int, max_pixels: int | None = None) -> int:
    """What a picture takes of the prompt, about; larger ones are scaled down to `max_pixels` (None: none)."""
    pixels = width_px * height_px
    if max_pixels is not None:
        pixels = min(pixels, max_pixels)
    return max(1, pixels // PIXELS_PER_TOKEN)
