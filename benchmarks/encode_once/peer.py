"""vLLM's own OpenAI server, with its caches on: the peer that a picture costs something, too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import httpx
import psutil

from benchmarks import processes
from benchmarks.bare import BUSY_WHEN_IDLE_CORES
from benchmarks.common import RESULTS
from multimodal.config import GeneratorArgs
from multimodal.serving.checks import free_port
from multimodal.serving.processes import die_with_parent

READY_TIMEOUT_S = 300.0
_POLL_S = 0.5
_END_S = 30.0


class Peer:
    """A server that is starting, until `wait` returns."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.url = url
        self.idle_cores = 0.0
        """What it uses while nobody asks it anything."""
        self._process = process
        self._log = log

    def wait(self) -> None:
        """Return when it is ready. Raises RuntimeError when it does not become that."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        with httpx.Client(trust_env=False, timeout=2.0) as client:
            while not self._is_ready(client):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"vLLM's server did not become ready. Its output is in {self._log}.")
                time.sleep(_POLL_S)
        self.idle_cores = processes.idle_cores(self.processes())

    def processes(self) -> list[psutil.Process]:
        """The server and those that it started; empty once it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return processes.tree(psutil.Process(self._process.pid))
        return []

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The other side's turn: one that polls while it is idle is stopped (SIGSTOP) meanwhile."""
        stopped = self.processes() if self.idle_cores > BUSY_WHEN_IDLE_CORES else []
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()

    def end(self) -> None:
        """It is asked to, then made to; its engine is a process of its own."""
        started = self.processes()
        self._process.terminate()
        _, alive = psutil.wait_procs(started, timeout=_END_S)
        for one in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait()

    def _is_ready(self, client: httpx.Client) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return client.get(f"{self.url}/health").status_code == 200
        return False


@contextmanager
def vllm_server(
    model: Path, args: GeneratorArgs, *, niceness: int, log: Path = RESULTS / "vllm-server.log"
) -> Iterator[Peer]:
    """Serve `model` on loopback with the engine settings of `args` until the block is left.

    It is only started: call `wait`. The prefix cache and the cache of processed media are on, as by default.
    `niceness`: that of the other side.
    """
    port = free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = _start(model, args, port, niceness, output)
    peer = Peer(process, f"http://127.0.0.1:{port}", log)
    try:
        yield peer
    finally:
        peer.end()


def _start(
    model: Path, args: GeneratorArgs, port: int, niceness: int, output: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["nice", "-n", str(niceness), *_command(model, args, port)],
        env=os.environ | _environment(args),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        # A session of its own, as our server has: Linux shares the processor out by session first.
        start_new_session=True,
        # Whatever ends the benchmark ends the server, and that its engine.
        preexec_fn=partial(die_with_parent, signal.SIGTERM),
    )


def _command(model: Path, args: GeneratorArgs, port: int) -> list[str]:
    options: dict[str, str | int] = {
        "host": "127.0.0.1",
        "port": port,
        "served-model-name": args.served_name,
        "dtype": args.dtype,
        "max-model-len": args.max_model_len,
        "max-num-seqs": args.max_num_seqs,
        "max-num-batched-tokens": args.max_num_batched_tokens,
        "kv-cache-memory-bytes": args.kv_cache_bytes,
        "generation-config": "vllm",
        "limit-mm-per-prompt": json.dumps({"image": 1, "video": 0}),
    }
    command = [sys.executable, "-m", "benchmarks.vllm_cli", "serve", str(model)]
    if args.block_tokens is not None:
        options["block-size"] = args.block_tokens
    command += [f"--{name}={value}" for name, value in options.items()]
    # What it found in the prefix cache is only told if asked for.
    return [*command, "--enable-prompt-tokens-details", *(["--enforce-eager"] if args.enforce_eager else [])]


def _environment(args: GeneratorArgs) -> dict[str, str]:
    """As `multimodal serve` and Generator set it: nothing listens on other interfaces than loopback."""
    changes = {"VLLM_NO_USAGE_STATS": "1", "VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    if args.cores is not None:
        changes["VLLM_CPU_OMP_THREADS_BIND"] = args.cores
    return changes
