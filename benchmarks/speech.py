"""Seconds of speech per second, and wrong words, of the speech encoder against openai-whisper's own model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, TypeAlias

import psutil
import typer

from benchmarks import limits, processes
from benchmarks.common import median, run
from benchmarks.findings import (
    MIN_PAIRS,
    QUICK_PAIRS,
    Check,
    Finding,
    Target,
    check,
    console,
    in_order,
    medians,
    publish,
    sums,
)
from benchmarks.limits import Limits
from benchmarks.speech_sides import (
    DEFAULTS,
    OURS,
    SAME_SEARCH,
    SIDES,
    Hears,
    Library,
    Ours,
    Recording,
    recordings,
    sides,
)
from benchmarks.words import error_rate, word_errors
from multimodal.config import AudioArgs, home
from multimodal.models.refs import resolve

FASTER = Target(at_least=4)
POINTS_MORE = Target(at_most=0.2)
PERCENT_OTHER_WORDS = 5.0
"""More than this between models of the same weights and numbers, and the weights are not the same."""

WORDS_PER_TOKEN = 0.75
"""English, about."""
WARM_S = 10.0
RECORDINGS = 24
"""Fewer have too few words: the error rates of both sides then differ by chance."""

Words: TypeAlias = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one side made of one recording."""

    said_s: float
    seconds: float
    cpu_s: float
    words: int
    errors: int


Turns: TypeAlias = Mapping[str, Sequence[Heard]]
"""By side; item i of all are of the same recording."""


def own_words() -> Words:
    """Words as OpenAI counts them: its own normaliser of English."""
    from whisper.normalizers import EnglishTextNormalizer  # type: ignore[import-untyped]

    normalise = EnglishTextNormalizer()
    return lambda text: str(normalise(text)).split()


def take_turn(hears: Hears, recording: Recording, words: Words) -> Heard:
    """One side, one recording."""
    started_s, cpu_s = time.perf_counter(), time.process_time()
    text = hears(recording.samples)
    seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    said = words(recording.text)
    errors = word_errors(said, words(text))
    return Heard(said_s=recording.seconds, seconds=seconds, cpu_s=cpu_s, words=len(said), errors=errors)


def take_turns(
    hears: Mapping[str, Hears], words: Words, *, seconds: float, pairs: int, seed: int
) -> dict[str, list[Heard]]:
    """All sides, on a new recording each time, after a short one that warms them up."""
    short = next(recordings(WARM_S, seed))
    for side in SIDES:
        hears[side](short.samples)
    found: dict[str, list[Heard]] = {side: [] for side in SIDES}
    for number, recording in zip(range(pairs), recordings(seconds, seed + 1), strict=False):
        for side in in_order(number, SIDES):
            found[side].append(take_turn(hears[side], recording, words))
        console.print(f"  {recording.seconds:.0f} s of speech: pair {number + 1} of {pairs}")
    return found


def check_weights(ours: Hears, library: Hears, recording: Recording, words: Words) -> float:
    """Percent of words that differ: one window, float32, the same search. RuntimeError for too many."""
    first, second = (words(hears(recording.samples)) for hears in (ours, library))
    percent = error_rate([word_errors(second, first)], [len(second)])
    if percent > PERCENT_OTHER_WORDS:
        raise RuntimeError(f"{percent:.1f} % of the words differ: that is not the same model.")
    return percent


def findings(turns: Turns) -> list[Finding]:
    """What a second of speech costs, how many are done in one, and how many words are right."""
    cpu_ms = {side: [1e3 * one.cpu_s / one.said_s for one in found] for side, found in turns.items()}
    speed = {side: [one.said_s / one.seconds for one in found] for side, found in turns.items()}
    right = {side: [one.words - one.errors for one in found] for side, found in turns.items()}
    same, greedy = f"{OURS} / {SAME_SEARCH}, as many beams", f"{OURS} / {DEFAULTS} (its defaults)"
    unit = "s/s"
    return [
        medians("CPU for each second of speech", same, cpu_ms[OURS], cpu_ms[SAME_SEARCH], "ms"),
        medians("CPU for each second of speech", greedy, cpu_ms[OURS], cpu_ms[DEFAULTS], "ms"),
        medians("seconds of speech", same, speed[OURS], speed[SAME_SEARCH], unit, FASTER),
        medians("seconds of speech", greedy, speed[OURS], speed[DEFAULTS], unit),
        sums("words heard right", same, right[OURS], right[SAME_SEARCH], ""),
        sums("words heard right", greedy, right[OURS], right[DEFAULTS], ""),
    ]


def rates(turns: Turns) -> dict[str, float]:
    """Word error of each side, percent."""
    return {
        side: error_rate([one.errors for one in found], [one.words for one in found])
        for side, found in turns.items()
    }


def checks(turns: Turns) -> list[Check]:
    """What ours hears wrong and the library does not."""
    found = rates(turns)
    return [
        check(f"word error above that of {side}", found[OURS] - found[side], POINTS_MORE, "points")
        for side in (SAME_SEARCH, DEFAULTS)
    ]


def facts(turns: Turns, library: Library, found: Limits, beams: int) -> dict[str, float]:
    """How far the physical limit is: all products at the peak of the numbers that each side multiplies."""
    one = turns[OURS][0]
    tokens = round(one.words / WORDS_PER_TOKEN)
    encoder, decoder = library.flops(min(tokens, 200))
    windows = one.said_s / 30
    work = windows * encoder + beams * decoder * tokens / min(tokens, 200)
    seconds = {side: median([turn.seconds for turn in turns[side]]) for side in (OURS, SAME_SEARCH)}
    number: limits.Number = "int8" if "int8" in found.flops_per_s else "float32"
    return {
        **{f"word error of {side}, percent": round(rate, 2) for side, rate in rates(turns).items()},
        "words said": sum(turn.words for turn in turns[OURS]),
        "30 s of sound, encoder, GFLOP": round(encoder / 1e9, 1),
        "one recording, GFLOP": round(work / 1e9, 1),
        f"{OURS}, of GEMM peak in {number}": round(found.share(work, seconds[OURS], number), 3),
        f"{OURS}, of GEMM peak in float32": round(found.share(work, seconds[OURS], "float32"), 3),
        f"{SAME_SEARCH}, of GEMM peak in float32": round(
            found.share(work, seconds[SAME_SEARCH], "float32"), 3
        ),
        **found.facts(),
    }


def main(
    model: Annotated[str, typer.Option(help="A Whisper of CTranslate2, float16.")] = AudioArgs().model,
    seconds: Annotated[float, typer.Option(min=10, help="Of speech in a recording.")] = 45.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads and cores of each side.")] = 1,
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Recordings.")] = RECORDINGS,
    seed: Annotated[int, typer.Option(help="Of the recordings.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="One recording: does it run?")] = False,
) -> None:
    """Compare AudioEncoder's model with openai-whisper, on the same weights, recordings and cores."""
    # Before torch is there: it counts cores when it is imported.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import torch

    torch.set_num_threads(threads)
    folder, args = resolve(model, home()), AudioArgs(model=model, threads=threads)
    library, words = Library(folder), own_words()
    differ = check_weights(
        Ours(folder, args.model_copy(update={"compute_type": "float32"})).whole,
        lambda samples: library.whole(samples, args.beam_size),
        next(recordings(WARM_S, seed - 1)),
        words,
    )
    hears = sides(folder, args, library)
    watch = processes.Watch({"own": [psutil.Process()]})
    turns = take_turns(hears, words, seconds=seconds, pairs=QUICK_PAIRS if quick else pairs, seed=seed)
    others_cores = watch.cores()["others"]
    shown = facts(turns, library, limits.measure(quick=quick), args.beam_size)
    details = {
        "options": {"model": model, "seconds": seconds, "threads": threads, "seed": seed, "quick": quick},
        "checks": checks(turns),
        "facts": {**shown, "words that differ of one window in float32, percent": differ},
        "turns": {side: [asdict(one) for one in found] for side, found in turns.items()},
    }
    console.print(details["checks"], details["facts"])
    publish("speech", findings(turns), details, others_cores)


if __name__ == "__main__":
    run(main)
