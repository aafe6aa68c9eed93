"""Where pictures are encoded, decided for each request, and counted."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from multimodal.config import BypassArgs
from multimodal.generation.bypass import BypassPolicy, Decision, Reason, Route, image_tokens
from multimodal.generation.visuals import size
from multimodal.types import Image

AUTO = BypassPolicy(BypassArgs(engine_tokens=100, engine_queue=2))


@pytest.mark.parametrize(
    ("tokens", "queue", "cached", "route", "reason"),
    [
        (100, 1, False, Route.ENGINE, Reason.FEW_TOKENS),
        (101, 1, False, Route.TOWER, Reason.MANY_TOKENS),
        (100, 2, False, Route.TOWER, Reason.BUSY),
        (101, 2, False, Route.TOWER, Reason.BUSY),
        (1, 0, True, Route.TOWER, Reason.CACHED),
        (1, 9, True, Route.TOWER, Reason.CACHED),
    ],
)
def test_auto_decides_by_cache_then_queue_then_tokens(
    tokens: int, queue: int, cached: bool, route: Route, reason: Reason
) -> None:
    decision = AUTO.decide(image_tokens=tokens, engine_queue=queue, cached=cached)
    assert decision == Decision(route, reason)


@pytest.mark.parametrize("route", ["tower", "engine"])
def test_what_is_configured_holds_for_every_request(route: Literal["tower", "engine"]) -> None:
    policy = BypassPolicy(BypassArgs(route=route))
    for tokens, queue, cached in product((1, 10**6), (0, 99), (False, True)):
        decision = policy.decide(image_tokens=tokens, engine_queue=queue, cached=cached)
        assert decision == Decision(Route(route), Reason.FORCED)


@pytest.mark.parametrize("args", [BypassArgs(engine_queue=0), BypassArgs(engine_tokens=0)])
def test_a_limit_of_nothing_leaves_the_engine_alone(args: BypassArgs) -> None:
    assert BypassPolicy(args).decide(image_tokens=1, engine_queue=0, cached=False).route is Route.TOWER


@given(st.integers(1, 300), st.integers(0, 5), st.integers(0, 300), st.integers(0, 5))
def test_more_tokens_or_a_longer_queue_never_move_a_request_into_the_engine(
    tokens: int, queue: int, more_tokens: int, longer: int
) -> None:
    easier = AUTO.decide(image_tokens=tokens, engine_queue=queue, cached=False)
    harder = AUTO.decide(image_tokens=tokens + more_tokens, engine_queue=queue + longer, cached=False)
    assert easier.route is Route.ENGINE or harder.route is Route.TOWER


def _counted(route: str, reason: str) -> float:
    labels = {"route": route, "reason": reason}
    return REGISTRY.get_sample_value("multimodal_vision_route_total", labels) or 0.0


def test_each_decision_is_counted_once() -> None:
    outcomes = [("engine", "few_tokens"), ("tower", "busy"), ("tower", "forced")]
    before = [_counted(*outcome) for outcome in outcomes]

    AUTO.decide(image_tokens=1, engine_queue=0, cached=False)
    AUTO.decide(image_tokens=1, engine_queue=0, cached=False)
    AUTO.decide(image_tokens=1, engine_queue=2, cached=False)

    after = [_counted(*outcome) for outcome in outcomes]
    assert [late - early for late, early in zip(after, before, strict=True)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("width_px", "height_px", "max_pixels", "tokens"),
    [
        (28, 28, None, 1),
        (280, 560, None, 200),
        (1, 1, None, 1),
        (2800, 2800, 280 * 280, 100),  # scaled down
        (280, 280, 2800 * 2800, 100),  # never up
        (10_000, 10_000, 1, 1),
    ],
)
def test_tokens_follow_from_the_size(
    width_px: int, height_px: int, max_pixels: int | None, tokens: int
) -> None:
    assert image_tokens(width_px, height_px, max_pixels) == tokens


@given(st.integers(1, 200), st.integers(1, 200))
def test_the_estimate_is_the_one_that_the_prompt_is_cut_by(width_px: int, height_px: int) -> None:
    pixels = np.zeros((height_px, width_px, 3), np.uint8)
    image = Image(sha256="", pixels=pixels, width=width_px, height=height_px, format="png")
    assert image_tokens(width_px, height_px) == size(image).tokens
