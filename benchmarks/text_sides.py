"""Both sides of `text_encoder`, in one replica of Ray Serve: turns of one while the other is idle.

Ours needs a replica, because its batches are made by `@serve.batch`. The library is given the same process,
event loop and threads. Calls of both come from within: no transport is measured.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from ray import serve
from ray.serve import Application, Deployment

from benchmarks import limits
from benchmarks.limits import Limits
from benchmarks.open_loop import arrivals_s
from benchmarks.text_turns import LIBRARY, OURS, Turn, Turned
from deployments.backends import make_text
from deployments.text_encoder import TextEncoder
from multimodal.config import AppArgs, TextArgs, home
from multimodal.models.refs import resolve
from multimodal.types import RequestContext

PATIENCE_S = 600.0
MAX_ONGOING = 256


class Ours:
    """TextEncoder as it is served."""

    def __init__(self, model: str) -> None:
        self._encoder = TextEncoder(AppArgs(text=TextArgs(model=model)), make_text)

    async def encode(self, text: str) -> NDArray[np.float32]:
        """(embed_dim,) unit length."""
        ctx = RequestContext(request_id="", tenant="", deadline_s=time.time() + PATIENCE_S)
        found: NDArray[np.float32] = (await self._encoder.encode(ctx, [text])).vectors[0]
        return found


class Library:
    """transformers as its documentation has it: float32, eager, a text at a time. Callers wait in line."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        # More threads than torch has for itself would only be in each other's way.
        self._worker = ThreadPoolExecutor(1)

    async def encode(self, text: str) -> NDArray[np.float32]:
        """(embed_dim,) unit length."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self.vector, text)

    def vector(self, text: str) -> NDArray[np.float32]:
        """The mean of the last hidden states, unit length."""
        import torch

        with torch.inference_mode():
            hidden = self._model(**self._tokenizer(text, return_tensors="pt")).last_hidden_state
            found: NDArray[np.float32] = torch.nn.functional.normalize(hidden.mean(dim=1)).numpy()[0]
        return found

    def flops(self, texts: Sequence[str]) -> float:
        """Of one of these texts, on average, without padding."""
        batches = [self._tokenizer(text, return_tensors="pt") for text in texts]
        return sum(limits.flops(partial(self._model, **batch)) for batch in batches) / len(texts)


class Both:
    """The deployment: runs turns."""

    def __init__(self, model: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._library = Library(resolve(model, home()))
        self._sides: dict[str, Ours | Library] = {OURS: Ours(model), LIBRARY: self._library}
        keep_to_cores(threads)

    async def run(self, turn: Turn) -> Turned:
        """One turn."""
        encode = self._sides[turn.side].encode
        started_s, cpu_s = time.perf_counter(), time.process_time()
        latencies_ms = await (closed(encode, turn) if turn.callers else opened(encode, turn))
        seconds = time.perf_counter() - started_s
        return Turned(seconds=seconds, cpu_s=time.process_time() - cpu_s, latencies_ms=latencies_ms)

    async def cosines(self, texts: Sequence[str]) -> list[float]:
        """Of both sides' vectors, for each text; ours are made together."""
        ours = await asyncio.gather(*map(self._sides[OURS].encode, texts))
        return [float(one @ self._library.vector(text)) for one, text in zip(ours, texts, strict=True)]

    async def flops(self, texts: Sequence[str]) -> float:
        """Of one text, on average."""
        return self._library.flops(texts)

    async def limits(self, quick: bool) -> Limits:
        """With this process's threads."""
        return limits.measure(quick=quick)

    async def process_id(self) -> int:
        """Of the replica."""
        return os.getpid()


def keep_to_cores(count: int) -> None:
    """All threads of this process, and those that they will start, on so many cores."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


async def closed(encode: Callable[[str], Awaitable[object]], turn: Turn) -> list[float]:
    """Milliseconds of each text."""
    waiting, latencies_ms = iter(turn.texts), list[float]()

    async def caller() -> None:
        for text in waiting:
            started_s = time.perf_counter()
            await encode(text)
            latencies_ms.append(1e3 * (time.perf_counter() - started_s))

    await asyncio.gather(*(caller() for _ in range(turn.callers)))
    return latencies_ms


async def opened(encode: Callable[[str], Awaitable[object]], turn: Turn) -> list[float]:
    """Milliseconds from when each text was due, whatever became of those before."""
    started_s = time.perf_counter()

    async def arrive(text: str, due_s: float) -> float:
        await asyncio.sleep(started_s + due_s - time.perf_counter())
        await encode(text)
        return 1e3 * (time.perf_counter() - started_s - due_s)

    due = arrivals_s(len(turn.texts), turn.rate_per_s, turn.seed)
    return await asyncio.gather(*map(arrive, turn.texts, due))


def app(model: str, threads: int) -> Application:
    """One replica, with the CPU share that TextEncoder has."""
    options = {"ray_actor_options": {"num_cpus": 0.1}, "max_ongoing_requests": MAX_ONGOING}
    deployment = cast("Deployment", serve.deployment(Both)).options(**options)  # type: ignore[arg-type]
    return deployment.bind(model, threads)
