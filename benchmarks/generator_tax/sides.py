"""The sides: our server, vLLM's own, and AsyncLLM in a process of its own, all on one model."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, get_args

import psutil

from benchmarks import processes
from benchmarks.bare import BareEngine
from benchmarks.common import RESULTS
from benchmarks.encode_once.peer import Peer, vllm_server
from benchmarks.encode_once.profile import derived
from benchmarks.encode_once.served import RAY_NICENESS, Served, ours
from benchmarks.findings import console
from benchmarks.generator_tax import client
from benchmarks.generator_tax.client import Client
from benchmarks.generator_tax.stopping import stopped
from benchmarks.load import Answer, Streams
from multimodal.config import GeneratorArgs, home
from multimodal.models.refs import resolve

SideName: TypeAlias = Literal["ours", "vLLM server", "bare engine", "ours, alone"]
NAMES: tuple[SideName, ...] = get_args(SideName)
OURS, PEER, BARE, ALONE = NAMES
"""ALONE is ours without its idle processes: what they cost."""

IN_THE_WAY = re.compile(
    r"ray::ServeReplica:multimodal:(Gateway|Generator)\b|VLLM::|haproxy|/gcs_server |/raylet |serve"
)
"""Command lines of what a text chat goes through, and of what would end the others if it did not answer."""

MOST_NICE = 19
"""Of Linux."""

ENGINES = 3
ENGINE_BYTES = 3_500_000_000
"""An engine with its KV cache, in the embedded profile."""
GRAPH_BYTES = 5_000_000_000
"""The rest of our server: Ray, and the encoders."""


class Side(Protocol):
    """What can be asked."""

    def processes(self) -> list[psutil.Process]:
        """All of it."""
        ...

    def run(self, streams: Streams) -> list[Answer]:
        """One turn; blocks. Answers are in the order of the prompts. Raises RuntimeError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSide:
    """A server that speaks OpenAI's API."""

    url: str
    """Without `/v1`."""
    model: str
    max_tokens: int
    tree: Callable[[], list[psutil.Process]]

    def processes(self) -> list[psutil.Process]:
        return self.tree()

    def run(self, streams: Streams) -> list[Answer]:
        return client.answers(Client(f"{self.url}/v1/chat/completions"), streams, self._body)

    def _body(self, prompt: str) -> bytes:
        return json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": self.max_tokens,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """All of them, ready."""

    by_name: dict[SideName, Side]
    args: GeneratorArgs
    niceness: int
    idle_cores: dict[SideName, float] = field(default_factory=dict)
    """What each uses while nobody asks it anything."""

    def trees(self) -> dict[str, list[psutil.Process]]:
        """Processes by server, and those of the client."""
        servers = {name: side.processes() for name, side in self.by_name.items() if name != ALONE}
        return servers | {"client": [psutil.Process()]}

    @contextmanager
    def only(self, name: SideName) -> Iterator[Side]:
        """The turn of one, while the others are stopped."""
        own = set(self.by_name[name].processes())
        everything = {process for side in self.by_name.values() for process in side.processes()}
        with stopped(list(everything - own)):
            yield self.by_name[name]


@contextmanager
def all_sides(config: Path, max_tokens: int) -> Iterator[Sides]:
    """They boot at the same time, which takes a minute or two.

    Raises RuntimeError where memory does not suffice or their priorities differ, ConfigError where one does
    not start.
    """
    check_memory(psutil.virtual_memory().available)
    with derived(config, {}) as profile:
        args = profile.args.generator
    model = resolve(args.model, home())
    log = RESULTS / "bare-engine.log"
    with (
        BareEngine(model, args, max_tokens=max_tokens, niceness=engine_niceness(), log=log) as bare,
        vllm_server(model, args, niceness=RAY_NICENESS) as peer,
        ours(config) as server,
    ):
        peer.wait()
        bare.wait()
        yield _ready(server, peer, bare, args, max_tokens)


def _ready(server: Served, peer: Peer, bare: BareEngine, args: GeneratorArgs, max_tokens: int) -> Sides:
    def http(url: str, tree: Callable[[], list[psutil.Process]]) -> HttpSide:
        return HttpSide(url=url, model=args.served_name, max_tokens=max_tokens, tree=tree)

    by_name: dict[SideName, Side] = {
        OURS: http(server.url, server.processes),
        PEER: http(peer.url, peer.processes),
        BARE: bare,
        ALONE: http(server.url, lambda: [one for one in server.processes() if is_in_the_way(one)]),
    }
    niceness = check_niceness({name: side.processes() for name, side in by_name.items()})
    idle = {name: processes.idle_cores(side.processes()) for name, side in by_name.items()}
    console.print(
        "Cores used while idle: " + ", ".join(f"{name} {cores:.2f}" for name, cores in idle.items())
    )
    return Sides(by_name=by_name, args=args, niceness=niceness, idle_cores=idle)


def is_in_the_way(process: psutil.Process) -> bool:
    """Whether a text chat needs it."""
    try:
        return IN_THE_WAY.search(" ".join(process.cmdline()) + " ") is not None
    except psutil.NoSuchProcess:
        return False


def check_memory(available_bytes: int) -> None:
    """Raises RuntimeError where three engines and the rest of our server would not fit."""
    needed_bytes = ENGINES * ENGINE_BYTES + GRAPH_BYTES
    if available_bytes < needed_bytes:
        raise RuntimeError(
            f"{ENGINES} engines and our server need {needed_bytes / 1e9:.0f} GB of memory; "
            f"{available_bytes / 1e9:.0f} GB are available."
        )


def engine_niceness() -> int:
    """What Ray's workers have where our own server is started with this process's niceness."""
    return min(MOST_NICE, os.nice(0) + RAY_NICENESS)


def check_niceness(trees: dict[SideName, list[psutil.Process]]) -> int:
    """That of the engines. Raises RuntimeError where it differs: then one side takes time from the others."""
    found = {name: processes.niceness(tree) for name, tree in trees.items()}
    if len(set(found.values())) != 1:
        raise RuntimeError(f"The sides have different priorities: {found}.")
    return found[OURS]
