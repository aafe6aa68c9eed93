"""vLLM's AsyncLLM and nothing else, in a process of its own: what the server is compared with.

The engine is the Generator's own, with its settings, prompt builder and sampling parameters, but requests go
straight to AsyncLLM: both sides do the same work in the same engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import time
import uuid
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

import psutil
import uvloop

from benchmarks import processes
from benchmarks.load import Answer, Streams, run_turn
from multimodal.config import GeneratorArgs
from multimodal.types import GenerateRequest, PromptMessage, Role, Sampling, TextPart

if TYPE_CHECKING:
    from multimodal.generation.engine import VllmEngine
from multimodal.generation.sampling import sampling_params

BUSY_WHEN_IDLE_CORES = 0.05
"""A side that uses more than this while it waits is stopped during the turns of others."""

_END_S = 30.0


class BareEngine:
    """The engine's process, driven from here. Entering it only starts it: call `wait`."""

    def __init__(
        self, model: Path, args: GeneratorArgs, *, max_tokens: int, niceness: int, log: Path
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_main, args=(theirs, model, args, max_tokens, niceness, log), name="bare-engine"
        )
        self._theirs = theirs
        self._log = log

    def __enter__(self) -> BareEngine:
        self._process.start()
        self._theirs.close()
        return self

    def wait(self) -> None:
        """Return when it is booted: tens of seconds. Raises RuntimeError when it does not become that."""
        self._receive()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def processes(self) -> list[psutil.Process]:
        """The process and those that vLLM started; empty once it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return processes.tree(psutil.Process(self._process.pid))
        return []

    def run(self, streams: Streams) -> list[Answer]:
        """One turn; blocks. Raises RuntimeError when the process has ended."""
        self._connection.send(streams)
        return cast("list[Answer]", self._receive())

    def _receive(self) -> object:
        try:
            return self._connection.recv()
        except EOFError:
            raise RuntimeError(f"The bare engine ended. Its output is in {self._log}.") from None

    def _end(self) -> None:
        self._connection.close()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _main(
    connection: Connection, model: Path, args: GeneratorArgs, max_tokens: int, niceness: int, log: Path
) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    # The server has a session of its own too: Linux shares the processor out by session first (autogroup).
    os.setsid()
    os.nice(max(0, niceness - os.nice(0)))
    # As `multimodal serve` does: nothing listens on other interfaces than loopback.
    os.environ.update(VLLM_HOST_IP="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
    # The loop that vLLM's own server runs on.
    uvloop.run(_serve(connection, model, args, max_tokens))


async def _serve(connection: Connection, model: Path, args: GeneratorArgs, max_tokens: int) -> None:
    """Answer turns until the other end is closed."""
    from multimodal.generation.engine import VllmEngine

    engine = VllmEngine(model, args)
    asker = _Asker(engine, args, max_tokens)
    try:
        connection.send(None)
        while True:
            streams: Streams = await asyncio.to_thread(connection.recv)
            asker.prepare([prompt for prompts in streams for prompt in prompts])
            connection.send(await run_turn(asker.ask, streams))
    except (EOFError, BrokenPipeError):
        return
    finally:
        engine.close()


class _Asker:
    """Asks AsyncLLM. Looks inside VllmEngine, whose own `generate` is part of what is compared."""

    def __init__(self, engine: VllmEngine, args: GeneratorArgs, max_tokens: int) -> None:
        self._async_llm = engine._engine
        self._builder = engine._prompts
        self._budget_tokens = args.max_model_len - max_tokens
        self._wanted = Sampling(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)

        self._sampling = sampling_params(self._wanted, args, max_tokens)
        self._token_ids: dict[str, list[int]] = {}

    def prepare(self, prompts: Sequence[str]) -> None:
        """Build the prompts of a turn before its clock starts."""
        self._token_ids = {prompt: self._build(prompt) for prompt in prompts}

    def _build(self, prompt: str) -> list[int]:
        message = PromptMessage(role=Role.USER, parts=(TextPart(text=prompt),))
        request = GenerateRequest(messages=(message,), sampling=self._wanted)
        return self._builder.build(request, (), self._budget_tokens).token_ids

    async def ask(self, prompt: str) -> Answer:
        """One prepared prompt."""
        from vllm.inputs import TokensPrompt

        token_ids = self._token_ids[prompt]
        # The salt is the server's tenant there: without one, prefix cache keys would be cheaper here.
        inputs = TokensPrompt(prompt_token_ids=token_ids, cache_salt="benchmark")
        texts: list[str] = []
        arrivals_s: list[float] = []
        completion_tokens = cached_tokens = 0
        sent_s = now_s = time.perf_counter()
        async for output in self._async_llm.generate(inputs, self._sampling, uuid.uuid4().hex):
            now_s = time.perf_counter()
            choice = output.outputs[0]
            completion_tokens += len(choice.token_ids)
            cached_tokens = output.num_cached_tokens or 0
            if choice.text:
                texts.append(choice.text)
                arrivals_s.append(now_s)
        return Answer(
            sent_s=sent_s,
            arrivals_s=tuple(arrivals_s),
            ended_s=now_s,
            text="".join(texts),
            prompt_tokens=len(token_ids),
            completion_tokens=completion_tokens,
            cached_tokens=cached_tokens,
        )
