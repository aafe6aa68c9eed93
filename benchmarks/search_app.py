"""The graph that `benchmarks.retrieval` asks: real where a search by words goes, fakes in all other places.

Without `from __future__ import annotations`: see `deployments.app`.
"""

from dataclasses import replace

from ray.serve import Application

from deployments.app import build
from deployments.backends import make_store, make_text
from multimodal.config import AppArgs
from tests.integration.graph.backends import FAKES


def app(args: AppArgs) -> Application:
    """Like `deployments.app:app`."""
    return build(args, replace(FAKES, store=make_store, text=make_text))
