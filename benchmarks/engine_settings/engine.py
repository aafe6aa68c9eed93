"""The bare engine, also with settings that GeneratorArgs has not."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import bare
from benchmarks.bare import BareEngine
from benchmarks.engine_settings.candidates import Candidate
from multimodal.config import GeneratorArgs

MAX_TOKENS = 48
"""Of each answer."""


class Engine(BareEngine):
    """One candidate's. Entering it only starts it, as there."""

    def __init__(self, model: Path, baseline: GeneratorArgs, candidate: Candidate, log: Path) -> None:
        args = candidate.applied(baseline)
        niceness = os.nice(0)
        super().__init__(model, args, max_tokens=MAX_TOKENS, niceness=niceness, log=log)
        self._env = candidate.env
        # The same process, which sees to chunked prefill before the engine boots.
        self._process = multiprocessing.get_context("spawn").Process(
            target=_main,
            args=(candidate.chunked_prefill, self._theirs, model, args, MAX_TOKENS, niceness, log),
            name="bare-engine",
        )

    def __enter__(self) -> Engine:
        with environment(self._env):
            super().__enter__()
        return self


@contextlib.contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """For processes that are started in this block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _main(
    chunked_prefill: bool,
    connection: Connection,
    model: Path,
    args: GeneratorArgs,
    max_tokens: int,
    niceness: int,
    log: Path,
) -> None:
    if not chunked_prefill:
        _without_chunks()
    bare._main(connection, model, args, max_tokens, niceness, log)


def _without_chunks() -> None:
    """GeneratorArgs has no setting for it. booting.start takes the class from this module when it boots."""
    from vllm.engine import arg_utils

    class WithoutChunks(arg_utils.AsyncEngineArgs):
        def __post_init__(self) -> None:
            super().__post_init__()  # type: ignore[no-untyped-call]
            self.enable_chunked_prefill = False

    vars(arg_utils)["AsyncEngineArgs"] = WithoutChunks
