"""Tokens through our HTTP, through that of vLLM's own server, and from AsyncLLM alone."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.findings import MIN_PAIRS, console, publish
from benchmarks.generator_tax import report
from benchmarks.generator_tax.counts import parse_counts
from benchmarks.generator_tax.sides import Sides, all_sides
from benchmarks.generator_tax.stopping import end_in_order
from benchmarks.generator_tax.turns import Measurement, Options, Round

QUICK_ROUNDS = 2
QUICK_TOKENS = 64
QUICK_STREAMS = "1,16"


def measure(sides: Sides, options: Options) -> dict[int, list[Round]]:
    """All numbers of streams, one after the other."""
    measurement = Measurement(sides, options)
    found = {}
    for streams in options.streams:
        console.print(f"{streams} streams, tokens/s:")
        found[streams] = measurement.at(streams, _report)
    return found


def _report(number: int, one: Round) -> None:
    rates = [f"{side} {turn['tokens_per_s']:.1f}" for side, turn in one["turns"].items()]
    console.print(f"  round {number + 1}: {', '.join(rates)}")


def main(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="What is served.")] = Path("serve_config.yaml"),
    streams: Annotated[
        str | None, typer.Option(help="Numbers of concurrent streams; default 1,4,16,64.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=MIN_PAIRS, help="Turns of each side.")] = MIN_PAIRS,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens of each answer.")] = 128,
    prompt_words: Annotated[int, typer.Option(min=1, help="Words of each prompt; 3 tokens each.")] = 16,
    seed: Annotated[int | None, typer.Option(help="Of the prompts; default: a new one.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two short rounds: does it run?")] = False,
) -> None:
    """Start all sides, and compare them at each number of streams."""
    if context.invoked_subcommand is not None:
        return
    end_in_order()
    options = Options(
        streams=parse_counts(streams or (QUICK_STREAMS if quick else "1,4,16,64")),
        rounds=QUICK_ROUNDS if quick else rounds,
        max_tokens=QUICK_TOKENS if quick else max_tokens,
        prompt_words=prompt_words,
        seed=secrets.randbits(32) if seed is None else seed,
    )
    with all_sides(config, options.max_tokens) as sides:
        found = measure(sides, options)
        known = {
            "options": asdict(options),
            "engine": sides.args.model_dump(mode="json"),
            "niceness_of_engines": sides.niceness,
            "idle_cores": sides.idle_cores,
        }
    details = {
        "facts": report.facts(found),
        "series": report.series(found),
        "samples": report.samples(found),
        "rounds": report.written(found),
    }
    turns = [turn for rounds_ in found.values() for one in rounds_ for turn in one["turns"].values()]
    publish(
        "generator-tax", report.findings(found), known | details, max(one["cores"]["others"] for one in turns)
    )
