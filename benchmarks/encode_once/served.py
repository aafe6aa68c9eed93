"""Servers of ours that a benchmark starts, and what it reads off them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import processes
from benchmarks.encode_once.checkpoint import MAX_PIXELS
from benchmarks.encode_once.peer import Peer, vllm_server
from benchmarks.encode_once.profile import Changes, Profile, derived, vision_language
from benchmarks.findings import console
from multimodal.serving.background import running_server

RAY_NICENESS = 15
"""Ray's default for its workers (`worker_niceness`), so that of our engine. The peer is to have the same."""

ENCODED = "multimodal_encoded_items_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server of ours that is ready."""

    url: str
    model: str
    """Name of its generator."""
    root: psutil.Process
    profile: Profile

    def processes(self) -> list[psutil.Process]:
        """All of it."""
        return processes.tree(self.root)

    def encoded(self) -> Counter[str]:
        """Items that each encoder has worked on since it started."""
        response = httpx.get(f"{self.url}/metrics", timeout=30, trust_env=False)
        response.raise_for_status()
        return encoded_items(response.text)


def encoded_items(metrics: str) -> Counter[str]:
    """The same of Prometheus' text format."""
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == ENCODED:
                counts[sample.labels["encoder"]] += round(sample.value)
    return counts


@contextmanager
def ours(config: Path, changes: Changes | None = None) -> Iterator[Served]:
    """`config` with these changes, served until the block is left."""
    with derived(config, changes or {}) as profile, _serving(profile) as server:
        yield server


@contextmanager
def ours_and_peer(config: Path, *, engine_tower: bool = False) -> Iterator[tuple[Served, Peer]]:
    """The same vision-language model at our server and at vLLM's own, with the same engine settings.

    `engine_tower`: our engine may encode pictures, too: see `vision_language`. Both boot at the same time.
    Raises RuntimeError where their priorities differ.
    """
    console.print("Building the model")
    with vision_language(config, engine_tower=engine_tower) as (profile, model):
        starting = vllm_server(model, profile.args.generator, niceness=RAY_NICENESS)
        with starting as peer, _serving(profile) as server:
            peer.wait()
            _check_niceness(server, peer)
            yield server, peer


def _check_niceness(server: Served, peer: Peer) -> None:
    # Both add it to that of the benchmark.
    own, other = (processes.niceness(side.processes()) for side in (server, peer))
    if own != other:
        raise RuntimeError(f"Our server has niceness {own}, vLLM's own {other}.")


@contextmanager
def _serving(profile: Profile) -> Iterator[Served]:
    console.print("Starting the server")
    with running_server(profile.path) as server:
        yield Served(
            url=server.base_url,
            model=profile.args.generator.served_name,
            root=psutil.Process(server.pid),
            profile=profile,
        )


def settings(profile: Profile) -> Mapping[str, object]:
    """Of generator, tower and cache, for the results."""
    vision = profile.args.vision
    return {
        "generator": profile.args.generator.model_dump(mode="json"),
        "vision": vision.model_dump(mode="json") if vision else None,
        "tower_max_pixels": MAX_PIXELS,
        "cache": profile.args.cache.model_dump(mode="json"),
    }
