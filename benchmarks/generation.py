"""TTFT, inter-token latency and tokens/s through the HTTP server, against bare vLLM on the same prompts."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypedDict, get_args

import aiohttp
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import processes
from benchmarks.bare import BareEngine
from benchmarks.common import RESULTS, Ratio, median, ratio_of_medians, run, write_results
from benchmarks.load import Answer, HttpAsker, Metrics, PromptSource, Streams, measure, run_turn
from multimodal.config import GeneratorArgs, home
from multimodal.models.refs import resolve
from multimodal.serving import config_file

SETTLE_S = 2.0
"""Between turns: vLLM's processes poll for 1 s after their last step (`SpinCondition.busy_loop_s`)."""

REQUEST_TIMEOUT_S = 600.0

MetricName: TypeAlias = Literal["ttft_ms", "itl_p50_ms", "itl_p99_ms", "tpot_ms", "tokens_per_s"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)

_IdleName: TypeAlias = Literal["server_idle_cores", "bare_idle_cores"]
IDLE: tuple[_IdleName, ...] = get_args(_IdleName)

console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    url: str
    streams: tuple[int, ...]
    pairs: int
    rounds: int
    max_tokens: int
    prompt_words: int
    seed: int


class Pair(TypedDict):
    """One turn of each side, on the same prompts, next to each other."""

    http: Metrics
    bare: Metrics
    client_cores: float
    """CPU time of the load generator during the server's turn."""
    bare_idle_cores: float
    """What the bare engine took from the server during the server's turn."""
    server_idle_cores: float
    """What the server took from the bare engine during the engine's turn."""
    same_answers: float
    """Share of equal texts. Below 1 where batches differ, because sums in bfloat16 then do."""
    prompt_tokens: float
    """Median."""


class Summary(TypedDict):
    """All pairs at one number of streams."""

    streams: int
    ratios: dict[str, dict[str, float]]
    """Metric -> HTTP / bare with its confidence interval."""
    http: dict[str, float]
    bare: dict[str, float]
    """Metric -> median over pairs."""
    pairs: list[Pair]


class Comparison:
    """Both sides, and turns of one while the other is idle."""

    def __init__(
        self, http: HttpAsker, bare: BareEngine, server: Sequence[psutil.Process], options: Options
    ) -> None:
        self._http = http
        self._bare = bare
        self._server = server
        self._options = options
        self._prompts = PromptSource(options.seed, options.prompt_words)

    async def at(self, streams: int) -> Summary:
        """Warm both sides up, then measure pairs."""
        options = self._options
        await self._pair(self._prompts.streams(streams, 1))
        pairs = []
        for number in range(1, options.pairs + 1):
            pair = await self._pair(self._prompts.streams(streams, options.rounds))
            pairs.append(pair)
            rates = f"{pair['http']['tokens_per_s']:.1f} and {pair['bare']['tokens_per_s']:.1f}"
            console.print(f"  {streams} streams, pair {number} of {options.pairs}: {rates} tokens/s")
        return summarise(streams, pairs)

    async def _pair(self, streams: Streams) -> Pair:
        self._bare.pause()
        try:
            own = processes.CpuMeter([psutil.Process()])
            other = processes.CpuMeter(self._bare.processes())
            served = await run_turn(self._http.ask, streams)
            client_cores, bare_idle_cores = own.cores(), other.cores()
        finally:
            self._bare.resume()
        await asyncio.sleep(SETTLE_S)
        other = processes.CpuMeter(self._server)
        direct = await asyncio.to_thread(self._bare.run, streams)
        server_idle_cores = other.cores()
        await asyncio.sleep(SETTLE_S)
        check_same_work(served, direct, self._options.max_tokens)
        return Pair(
            http=measure(served),
            bare=measure(direct),
            client_cores=client_cores,
            bare_idle_cores=bare_idle_cores,
            server_idle_cores=server_idle_cores,
            same_answers=sum(a.text == b.text for a, b in zip(served, direct, strict=True)) / len(served),
            prompt_tokens=median([one.prompt_tokens for one in direct]),
        )


def check_same_work(served: Sequence[Answer], direct: Sequence[Answer], max_tokens: int) -> None:
    """Raises RuntimeError where the sides did not do the same: then the numbers mean nothing."""
    for ours, theirs in zip(served, direct, strict=True):
        if ours.prompt_tokens != theirs.prompt_tokens:
            raise RuntimeError(
                f"The server fed {ours.prompt_tokens} prompt tokens and the bare engine "
                f"{theirs.prompt_tokens}: does --config name the file that the server runs?"
            )
        if {ours.completion_tokens, theirs.completion_tokens} != {max_tokens}:
            raise RuntimeError(f"Not every answer has {max_tokens} tokens.")
        if ours.cached_tokens != theirs.cached_tokens:
            raise RuntimeError(
                f"The server found {ours.cached_tokens} prompt tokens in its prefix cache and the bare "
                f"engine {theirs.cached_tokens}: leave --seed out, or restart the server."
            )


def summarise(streams: int, pairs: list[Pair]) -> Summary:
    """Ratios of medians first, absolute medians second."""
    http = {name: [pair["http"][name] for pair in pairs] for name in METRICS}
    bare = {name: [pair["bare"][name] for pair in pairs] for name in METRICS}
    return Summary(
        streams=streams,
        ratios={name: asdict(ratio_of_medians(http[name], bare[name])) for name in METRICS},
        http={name: median(http[name]) for name in METRICS},
        bare={name: median(bare[name]) for name in METRICS},
        pairs=pairs,
    )


async def compare(args: GeneratorArgs, options: Options) -> dict[str, object]:
    """Boot the bare engine, run everything, end it."""
    root = processes.server_root(options.url)
    niceness = 0
    server: list[psutil.Process] = []
    if root is None:
        console.print(f"Nothing on this machine listens at {options.url}: the server's CPU is not measured.")
    else:
        server = processes.tree(root)
        niceness = max(int(process.nice()) for process in server)
    console.print("Starting the bare engine")
    started_s = time.perf_counter()
    bare = BareEngine(
        resolve(args.model, home()),
        args,
        max_tokens=options.max_tokens,
        niceness=niceness,
        log=RESULTS / "bare-engine.log",
    )
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=_connector()) as session:
        with bare:
            boot_s = time.perf_counter() - started_s
            http = HttpAsker(session, options.url, args.served_name, options.max_tokens)
            comparison = Comparison(http, bare, server, options)
            summaries = [await comparison.at(count) for count in options.streams]
            show(summaries)
            return {
                "options": asdict(options),
                "engine": args.model_dump(mode="json"),
                "niceness_of_both_engines": niceness,
                "bare_boot_s": boot_s,
                "bare_idle_cores": bare.idle_cores,
                "bare_paused": bare.pauses,
                "summaries": summaries,
            }


def _connector() -> aiohttp.TCPConnector:
    """Connections stay open while the other side runs."""
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=60)


def show(summaries: Sequence[Summary]) -> None:
    """One table for each number of streams."""
    for summary in summaries:
        table = Table(title=f"{summary['streams']} streams", title_justify="left")
        table.add_column("metric")
        for heading in ("HTTP / bare [95 %]", "HTTP", "bare"):
            table.add_column(heading, justify="right")
        for name in METRICS:
            ratio = Ratio(**summary["ratios"][name])
            table.add_row(name, str(ratio), f"{summary['http'][name]:.1f}", f"{summary['bare'][name]:.1f}")
        console.print(table)
        pairs = summary["pairs"]
        server, bare = (median([pair[side] for pair in pairs]) for side in IDLE)
        same = min(pair["same_answers"] for pair in pairs)
        console.print(
            f"Cores used while the other side ran: server {server:.2f}, bare {bare:.2f}. "
            f"Equal answers: at least {same:.0%} of a turn.\n"
        )


def parse_counts(text: str) -> tuple[int, ...]:
    """Positive numbers between commas. Raises typer.BadParameter."""
    numbers = text.split(",")
    if not all(number.strip().isdecimal() and int(number) > 0 for number in numbers):
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 1,16", param_hint="--streams")
    return tuple(int(number) for number in numbers)


def main(
    url: Annotated[str, typer.Option(help="The running server.")] = "http://127.0.0.1:8000",
    config: Annotated[
        Path, typer.Option(help="The configuration that it runs: its generator's settings.")
    ] = Path("serve_config.yaml"),
    streams: Annotated[str, typer.Option(help="Numbers of concurrent streams.")] = "1,16",
    pairs: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Requests of each stream in a turn.")] = 3,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens of each answer.")] = 128,
    prompt_words: Annotated[int, typer.Option(min=1, help="Words of each prompt; 3 tokens each.")] = 16,
    seed: Annotated[int | None, typer.Option(help="Of the prompts; default: a new one.")] = None,
) -> None:
    """Compare a running server with bare vLLM: pairs of turns on the same prompts, one side at a time."""
    args = config_file.read(config).args
    if args is None:
        raise typer.BadParameter("it does not configure this graph", param_hint="--config")
    options = Options(
        url=url,
        streams=parse_counts(streams),
        pairs=pairs,
        rounds=rounds,
        max_tokens=max_tokens,
        prompt_words=prompt_words,
        seed=secrets.randbits(32) if seed is None else seed,
    )
    results = asyncio.run(compare(args.generator, options))
    console.print(f"Results: {write_results('generation', results)}")


if __name__ == "__main__":
    run(main)
