"""What the rounds say: findings, and what plots are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from benchmarks.common import median, percentile
from benchmarks.findings import Finding, Samples, Series, Target, medians, percentiles, thinned
from benchmarks.generator_tax.differences import difference_of_percentiles
from benchmarks.generator_tax.sides import ALONE, BARE, NAMES, OURS, PEER, SideName
from benchmarks.generator_tax.turns import Round, Turn

Found: TypeAlias = Mapping[int, Sequence[Round]]
"""Rounds by number of streams."""

FASTER = Target(at_least=1.0)
NEAR_BARE = Target(aim=0.97)
TAIL = Target(at_most_more=2.0)

REFERENCES: Mapping[SideName, Target] = {PEER: FASTER, BARE: NEAR_BARE}
OTHER_PAIRS: Sequence[tuple[SideName, SideName]] = ((ALONE, OURS), (ALONE, PEER), (PEER, BARE))
"""The first says what our idle processes cost."""
PLOTTED_STREAMS = 16
"""Of the distributions."""

_Number: TypeAlias = Literal["cpu_ms", "tokens_per_s", "tpot_ms"]
_Values: TypeAlias = Literal["ttft_ms", "inter_token_ms"]


def turns_of(rounds: Sequence[Round], side: SideName) -> list[Turn]:
    """In order."""
    return [one["turns"][side] for one in rounds]


def findings(found: Found) -> list[Finding]:
    """Ours against each reference, and what says why."""
    return [
        one
        for streams, rounds in found.items()
        for one in (
            *(finding for name in REFERENCES for finding in _against(name, streams, rounds)),
            *(_medians("tokens/s", "tokens_per_s", streams, rounds, *pair, "/s") for pair in OTHER_PAIRS),
        )
    ]


def _against(reference: SideName, streams: int, rounds: Sequence[Round]) -> list[Finding]:
    return [
        _medians("CPU, for each token", "cpu_ms", streams, rounds, OURS, reference, "ms"),
        _medians("tokens/s", "tokens_per_s", streams, rounds, OURS, reference, "/s", REFERENCES[reference]),
        _tails("inter-token latency, p99", 99, "inter_token_ms", streams, rounds, reference, TAIL),
        _tails("inter-token latency, p50", 50, "inter_token_ms", streams, rounds, reference),
        _tails("TTFT, p50", 50, "ttft_ms", streams, rounds, reference),
        _tails("TTFT, p99", 99, "ttft_ms", streams, rounds, reference),
        _medians("time of a token after the first", "tpot_ms", streams, rounds, OURS, reference, "ms"),
    ]


def _medians(
    title: str,
    metric: _Number,
    streams: int,
    rounds: Sequence[Round],
    first: SideName,
    second: SideName,
    unit: str,
    target: Target | None = None,
) -> Finding:
    sides = [[turn[metric] for turn in turns_of(rounds, side)] for side in (first, second)]
    return medians(_name(title, streams), f"{first} / {second}", sides[0], sides[1], unit, target)


def _tails(
    title: str,
    percent: float,
    metric: _Values,
    streams: int,
    rounds: Sequence[Round],
    reference: SideName,
    target: Target | None = None,
) -> Finding:
    sides = [[turn[metric] for turn in turns_of(rounds, side)] for side in (OURS, reference)]
    name, compared = _name(title, streams), f"{OURS} / {reference}"
    return percentiles(percent, name, compared, sides[0], sides[1], "ms", target)


def _name(title: str, streams: int) -> str:
    return f"{title}, {streams} stream{'s' if streams > 1 else ''}"


def facts(found: Found) -> dict[str, str | float]:
    """What is no ratio: differences of tails, and what to know before believing the numbers."""
    known: dict[str, str | float] = {}
    for streams, rounds in found.items():
        ours = [turn["inter_token_ms"] for turn in turns_of(rounds, OURS)]
        for name in REFERENCES:
            theirs = [turn["inter_token_ms"] for turn in turns_of(rounds, name)]
            title = _name(f"p99 inter-token latency, ours - {name}, ms", streams)
            known[title] = str(difference_of_percentiles(ours, theirs, 99))
        known[_name("lowest share of answers equal to the bare engine's", streams)] = min(
            one["same_answers"] for one in rounds
        )
        for side in (OURS, PEER):
            cores = [turn["cores"]["client"] for turn in turns_of(rounds, side)]
            known[_name(f"cores of the load generator, {side}", streams)] = round(median(cores), 3)
    return known


def series(found: Found) -> list[Series]:
    """Throughput, cost and tail by number of streams."""
    lines: list[Series] = []
    for side in NAMES:
        by_streams = {streams: turns_of(rounds, side) for streams, rounds in found.items()}
        points: tuple[tuple[str, str, list[float]], ...] = (
            (
                "Tokens a second",
                "tokens/s",
                [median([one["tokens_per_s"] for one in turns]) for turns in by_streams.values()],
            ),
            (
                "CPU for each token",
                "CPU ms per token",
                [median([one["cpu_ms"] for one in turns]) for turns in by_streams.values()],
            ),
            (
                "Inter-token latency, p99",
                "inter-token latency, p99, ms",
                [
                    percentile([gap for one in turns for gap in one["inter_token_ms"]], 99)
                    for turns in by_streams.values()
                ],
            ),
        )
        lines += [_line(plot, label, side, list(by_streams), y) for plot, label, y in points]
    return lines


def _line(plot: str, label: str, side: str, streams: Sequence[int], y: list[float]) -> Series:
    x = [float(count) for count in streams]
    return Series(plot=plot, side=side, x=x, y=y, x_label="concurrent streams", y_label=label, x_log=True)


def samples(found: Found) -> list[Samples]:
    """Distributions at PLOTTED_STREAMS, or at the most there were."""
    streams = PLOTTED_STREAMS if PLOTTED_STREAMS in found else max(found)
    metrics: tuple[tuple[str, _Values], ...] = (
        ("TTFT", "ttft_ms"),
        ("Inter-token latency", "inter_token_ms"),
    )
    return [
        Samples(
            plot=title,
            panel=f"{streams} streams",
            side=side,
            values=thinned([value for turn in turns_of(found[streams], side) for value in turn[metric]]),
            x_label=f"{title}, ms",
        )
        for title, metric in metrics
        for side in NAMES
    ]


def written(found: Found) -> dict[str, list[dict[str, object]]]:
    """Turns for the results file: of long lists only how many there were, and their tails."""
    return {
        str(streams): [
            {
                **one,
                "turns": {
                    side: {
                        **turn,
                        **{
                            metric: {
                                "values": len(turn[metric]),
                                "p50": median(turn[metric]),
                                "p99": percentile(turn[metric], 99),
                            }
                            for metric in _VALUES
                        },
                    }
                    for side, turn in one["turns"].items()
                },
            }
            for one in rounds
        ]
        for streams, rounds in found.items()
    }


_VALUES: tuple[_Values, ...] = ("ttft_ms", "inter_token_ms")
