"""TTFT, inter-token latency and tokens/s through the HTTP server, against bare vLLM on the same prompts."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypedDict

import aiohttp
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import processes
from benchmarks.bare import BareEngine
from benchmarks.common import RESULTS, Ratio, run, write_results
from benchmarks.compare import METRICS, Comparison, Options, Pair, Summary, remarks
from benchmarks.load import HttpAsker
from multimodal import serve_config
from multimodal.config import GeneratorArgs, home
from multimodal.models.refs import resolve

REQUEST_TIMEOUT_S = 600.0

console = Console()


class Results(TypedDict):
    """What is written."""

    options: dict[str, object]
    engine: dict[str, object]
    niceness_of_both_engines: int
    bare_boot_s: float
    bare_idle_cores: float
    """While it waits, measured before the first turn."""
    bare_paused: bool
    """Whether it was stopped during the server's turns, because it uses too much then."""
    summaries: list[Summary]


async def compare(args: GeneratorArgs, options: Options) -> Results:
    """Boot the bare engine, run everything, end it."""
    async with _session() as session:
        await check_ready(session, options.url)
        return await _compare(session, args, options)


async def check_ready(session: aiohttp.ClientSession, url: str) -> None:
    """Raises RuntimeError unless the server is there and ready."""
    try:
        async with session.get(f"{url.rstrip('/')}/readyz") as response:
            if response.status == 200:
                return
    except aiohttp.ClientError:
        pass
    raise RuntimeError(f"No server is ready at {url}: start it with `make run`, or name it with --url.")


async def _compare(session: aiohttp.ClientSession, args: GeneratorArgs, options: Options) -> Results:
    root = processes.server_root(options.url)
    server = [] if root is None else processes.tree(root)
    if root is None:
        console.print(f"Nothing on this machine listens at {options.url}: the server's CPU is not measured.")
    # Ray lowers the priority of its workers: the bare engine gets the same.
    niceness = processes.niceness(server)
    console.print("Starting the bare engine")
    started_s = time.perf_counter()
    model = resolve(args.model, home())
    log = RESULTS / "bare-engine.log"
    summaries: list[Summary] = []
    with BareEngine(model, args, max_tokens=options.max_tokens, niceness=niceness, log=log) as bare:
        boot_s = time.perf_counter() - started_s
        http = HttpAsker(session, options.url, args.served_name, options.max_tokens)
        comparison = Comparison(http, bare, server, options)
        for count in options.streams:
            console.print(f"{count} streams, tokens/s over HTTP and bare:")
            summaries.append(await comparison.at(count, _report))
    return Results(
        options=asdict(options),
        engine=args.model_dump(mode="json"),
        niceness_of_both_engines=niceness,
        bare_boot_s=boot_s,
        bare_idle_cores=bare.idle_cores,
        bare_paused=bare.pauses,
        summaries=summaries,
    )


def _session() -> aiohttp.ClientSession:
    """Connections stay open while the other side runs."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
    )


def _report(number: int, pair: Pair) -> None:
    http, bare = pair["http"]["tokens_per_s"], pair["bare"]["tokens_per_s"]
    console.print(f"  pair {number}: {http:.1f} and {bare:.1f}")


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
        console.print("\n".join(remarks(summary["pairs"])) + "\n", soft_wrap=True)


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
    args = serve_config.read(config).args
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
    show(results["summaries"])
    console.print(f"Results: {write_results('generation', results)}")


if __name__ == "__main__":
    run(main)
