"""The whole graph over models that do nothing: what a request costs here is HTTP, Ray and our own code.

Without `from __future__ import annotations`: see `deployments.app`.
"""

from dataclasses import replace

from ray.serve import Application

from benchmarks.graph_tax import noop
from deployments import calls, graph
from deployments.app import build
from deployments.backends import Backends, make_once
from multimodal.config import AppArgs, state
from multimodal.encode_once import EncodeOnce
from multimodal.retrieval.opening import make_store
from multimodal.retrieval.store import SegmentStore
from multimodal.retrieval.types import VectorName


def app(args: AppArgs) -> Application:
    """Like `deployments.app:app`."""
    return build(args, NOOP)


def plain(args: AppArgs) -> Application:
    """The same, but that Gateway calls as Serve does where nothing is said: through the object store."""
    return build(args, replace(NOOP, once=by_reference))


def by_reference(args: AppArgs) -> EncodeOnce:
    """Made in Gateway before it makes its calls, which from now on are as on a machine that cannot reach the
    replicas' own ports. Raises RuntimeError where that is not asked any more."""
    for module in (calls, graph):
        if not hasattr(module, _REACHES):
            raise RuntimeError(f"{module.__name__} chooses between value and reference in another way.")
        setattr(module, _REACHES, lambda: False)
    return make_once(args)


_REACHES = "reaches_replicas"


def _index(args: AppArgs) -> SegmentStore:
    """The real one, which stays empty: no request of this benchmark asks it."""
    return make_store(args, state(), dict.fromkeys(VectorName, noop.DIMENSIONS))


NOOP = replace(
    Backends(),
    store=_index,
    loader=lambda args: noop.Loader(),
    text=lambda args: noop.Text(),
    image=lambda args: noop.ImageTower(),
    audio=lambda args: noop.Ears(),
    reader=lambda args: noop.Reader(),
    vision=lambda args: noop.Vision(),
    generator=lambda args: noop.Generator(),
)
