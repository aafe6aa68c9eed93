"""`bench-serve`: vLLM's own load generator drives our server and vLLM's own, as it would drive any other."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, TypeAlias

import psutil
import typer
from pydantic import BaseModel, Field

from benchmarks import processes
from benchmarks.common import median
from benchmarks.encode_once.peer import Peer
from benchmarks.encode_once.served import Served, ours_and_peer, settings
from benchmarks.findings import MIN_PAIRS, Finding, Series, Target, console, in_order, medians, publish
from benchmarks.generator_tax.stopping import end_in_order, stopped

SideName: TypeAlias = Literal["ours", "vLLM server"]
OURS: SideName = "ours"
PEER: SideName = "vLLM server"
SIDES = (OURS, PEER)

Dataset: TypeAlias = Literal["random", "random-mm"]
"""As vLLM calls them: made-up words, and the same with made-up pictures."""

IMAGES = (
    *("--random-mm-base-items-per-request", "1", "--random-mm-num-mm-items-range-ratio", "0"),
    *("--random-mm-limit-mm-per-prompt", '{"image": 1, "video": 0}'),
    *("--random-mm-bucket-config", "{(224, 224, 1): 1.0}"),  # height, width, frames
)
INPUT_TOKENS, OUTPUT_TOKENS = 64, 32
LEAST_PROMPTS = 8
SETTLE_S = 1.0
TIMEOUT_S = 300.0
REFUSED = "Bad Request"
"""What `bench serve` notes of an answer with status 400."""
MAX_DRAWS = 5
TAIL = Target(at_most_more=2.0)

_Metric: TypeAlias = Literal[
    "output_throughput", "median_ttft_ms", "p99_ttft_ms", "median_tpot_ms", "median_itl_ms", "p99_itl_ms"
]
TABLE: Sequence[tuple[str, _Metric, str, Target | None]] = (
    ("TTFT, p50", "median_ttft_ms", "ms", None),
    ("TTFT, p99", "p99_ttft_ms", "ms", None),
    ("inter-token latency, p99", "p99_itl_ms", "ms", TAIL),
    ("inter-token latency, p50", "median_itl_ms", "ms", None),
    ("time of a token after the first", "median_tpot_ms", "ms", None),
    ("tokens/s", "output_throughput", "/s", None),
)
PLOTTED: Sequence[tuple[str, _Metric]] = (("TTFT, p50, ms", "median_ttft_ms"), ("ITL, p99, ms", "p99_itl_ms"))


class Result(BaseModel):
    """What `bench serve` writes; the rest of it is not looked at."""

    completed: int
    failed: int
    total_input_tokens: int
    total_output_tokens: int
    output_throughput: float
    """Tokens a second."""
    median_ttft_ms: float
    p99_ttft_ms: float
    median_tpot_ms: float
    median_itl_ms: float
    p99_itl_ms: float
    errors: Sequence[str] = Field((), exclude=True)
    """Of each request; empty where it was answered."""


class RefusedError(RuntimeError):
    """A made-up prompt is one that a server takes for no text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent."""

    dataset: Dataset
    rate_per_s: float
    """Of a Poisson process."""
    prompts: int

    @property
    def name(self) -> str:
        """For people."""
        words = {"random": "text", "random-mm": "text and a picture"}
        return f"{words[self.dataset]}, {self.rate_per_s:g}/s"


Found: TypeAlias = Mapping[Load, Mapping[SideName, Sequence[Result]]]


def loads(text: str, images: str, seconds: float) -> list[Load]:
    """Each rate for about so long. Raises typer.BadParameter."""
    rates: tuple[tuple[Dataset, list[float]], ...] = (
        ("random", parse_rates(text, "--rates")),
        ("random-mm", parse_rates(images, "--image-rates")),
    )
    return [
        Load(dataset=dataset, rate_per_s=rate, prompts=max(LEAST_PROMPTS, round(rate * seconds)))
        for dataset, of_dataset in rates
        for rate in of_dataset
    ]


def parse_rates(text: str, option: str) -> list[float]:
    """Positive numbers between commas. Raises typer.BadParameter."""
    try:
        rates = [float(rate) for rate in text.split(",")]
    except ValueError:
        rates = [0.0]
    if not all(0 < rate < float("inf") for rate in rates):
        raise typer.BadParameter(f"{text!r} is not a list of rates such as 2,8", param_hint=option)
    return rates


def command(url: str, model: str, tokenizer: str, load: Load, seed: int, result: Path) -> list[str]:
    """vLLM's own, with all that it needs from a hub named by path."""
    return [
        *(sys.executable, "-m", "benchmarks.vllm_cli", "bench", "serve"),
        *("--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", url),
        *("--model", model, "--tokenizer", tokenizer, "--seed", str(seed)),
        *("--dataset-name", load.dataset, *(IMAGES if load.dataset == "random-mm" else ())),
        *("--num-prompts", str(load.prompts), "--request-rate", f"{load.rate_per_s:g}"),
        *("--random-input-len", str(INPUT_TOKENS), "--random-output-len", str(OUTPUT_TOKENS)),
        *("--ignore-eos", "--temperature", "0", "--percentile-metrics", "ttft,tpot,itl"),
        *("--result-dir", str(result.parent), "--result-filename", result.name),
        *("--save-result", "--save-detailed", "--disable-tqdm"),
    ]


def drive(url: str, model: str, tokenizer: str, load: Load, seed: int) -> Result:
    """One run of it. Raises RuntimeError when it fails, or one request does; RefusedError as `read` does."""
    with TemporaryDirectory(prefix="mm-bench-serve-") as folder:
        path = Path(folder) / "result.json"
        done = subprocess.run(
            command(url, model, tokenizer, load, seed, path),
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0 or not path.exists():
            raise RuntimeError(f"`vllm bench serve` failed:\n{(done.stderr or done.stdout)[-2000:]}")
        return read(path.read_bytes(), load)


def read(document: bytes, load: Load) -> Result:
    """Its result file.

    Raises RuntimeError when a request failed or an answer is too short; RefusedError when all that failed
    were refused.
    """
    result = Result.model_validate_json(document)
    errors = {error for error in result.errors if error}
    if errors == {REFUSED}:
        raise RefusedError(f"Of {load.prompts} requests {result.failed} were refused with status 400.")
    wanted = (load.prompts, 0, load.prompts * OUTPUT_TOKENS)
    if (result.completed, result.failed, result.total_output_tokens) != wanted:
        raise RuntimeError(
            f"Of {load.prompts} requests {result.completed} were answered, with "
            f"{result.total_output_tokens} tokens in all; {wanted[2]} were asked for. "
            + " ".join(sorted(errors))
        )
    return result


class Strangers:
    """How busy programs that take no part keep the machine."""

    def __init__(self) -> None:
        self.most_cores = 0.0

    @contextmanager
    def watched(self, known: Sequence[psutil.Process]) -> Iterator[None]:
        """One run. The load generator is a child that has ended by then: it is in this process's accounts."""
        everything, ours = processes.CpuMeter(None), processes.CpuMeter([*known, psutil.Process()])
        before_s, started_s = _ended_children_s(), time.perf_counter()
        yield
        strange_s = everything.cpu_s() - ours.cpu_s() - (_ended_children_s() - before_s)
        self.most_cores = max(self.most_cores, strange_s / (time.perf_counter() - started_s))


def _ended_children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def measure(
    server: Served, peer: Peer, tokenizer: str, todo: Sequence[Load], pairs: int, strangers: Strangers
) -> Found:
    """Pairs of runs on the same prompts and arrivals, each side while the other is stopped; after one of each
    that is not counted. Where a prompt is refused, both sides get others: see `agreed`."""
    found: dict[Load, dict[SideName, list[Result]]] = {load: {OURS: [], PEER: []} for load in todo}
    urls: dict[SideName, str] = {OURS: server.url, PEER: peer.url}

    def once(side: SideName, load: Load, seed: int) -> Result:
        with stopped(peer.processes()) if side == OURS else stopped(server.processes()):
            time.sleep(SETTLE_S)
            with strangers.watched([*server.processes(), *peer.processes()]):
                return drive(urls[side], server.model, tokenizer, load, seed)

    for load in todo:
        # vLLM's load generator sends nothing beforehand, and first requests of a kind take seconds.
        agreed(once, replace(load, prompts=LEAST_PROMPTS), SIDES)
    for number in range(pairs):
        for load, results in found.items():
            for side, result in agreed(once, load, in_order(number, SIDES)).items():
                results[side].append(result)
            times = [f"{side} {of_side[-1].median_ttft_ms:.0f} ms" for side, of_side in results.items()]
            console.print(f"  {load.name}, TTFT: {', '.join(times)}")
    return found


def agreed(
    once: Callable[[SideName, Load, int], Result], load: Load, sides: Sequence[SideName]
) -> dict[SideName, Result]:
    """A run of each side on the same prompts, which are drawn anew while a side refuses one of them.

    vLLM makes prompts of random tokens, U+0000 among them, which our API takes for no text. Raises
    RefusedError when `MAX_DRAWS` were refused.
    """
    for _ in range(MAX_DRAWS - 1):
        try:
            return _on_same_prompts(once, load, sides)
        except RefusedError as error:
            console.print(f"  {load.name}: {error} Both sides get other prompts.")
    return _on_same_prompts(once, load, sides)


def _on_same_prompts(
    once: Callable[[SideName, Load, int], Result], load: Load, sides: Sequence[SideName]
) -> dict[SideName, Result]:
    seed = secrets.randbits(31)
    return {side: once(side, load, seed) for side in sides}


def findings(found: Found) -> list[Finding]:
    """Ours over vLLM's own, for each load."""
    return [
        medians(
            f"{title}: {load.name}",
            f"{OURS} / {PEER}",
            [getattr(result, metric) for result in results[OURS]],
            [getattr(result, metric) for result in results[PEER]],
            unit,
            target,
        )
        for load, results in found.items()
        for title, metric, unit, target in TABLE
    ]


def series(found: Found) -> list[Series]:
    """Latency against load."""
    return [
        Series(
            plot=f"vllm bench serve, {label.rpartition(',')[0]}",
            panel="text" if dataset == "random" else "text and a picture",
            side=side,
            x=[load.rate_per_s for load in found if load.dataset == dataset],
            y=[
                median([getattr(one, metric) for one in results[side]])
                for load, results in found.items()
                if load.dataset == dataset
            ],
            x_label="requests/s",
            y_label=label,
        )
        for label, metric in PLOTTED
        for dataset in dict.fromkeys(load.dataset for load in found)
        for side in SIDES
    ]


def main(
    config: Annotated[Path, typer.Option(help="What is served, but for the generator.")] = Path(
        "serve_config.yaml"
    ),
    rates: Annotated[str, typer.Option(help="Requests a second, text.")] = "2,8",
    image_rates: Annotated[str, typer.Option(help="The same with a picture in each.")] = "1",
    seconds: Annotated[float, typer.Option(min=1, help="Of a run.")] = 10.0,
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Runs of each side.")] = MIN_PAIRS,
    quick: Annotated[bool, typer.Option("--quick", help="One short pair: does it run?")] = False,
) -> None:
    """Start our server and vLLM's own with one vision-language model; vLLM's load generator asks both."""
    end_in_order()
    if quick:
        rates, image_rates, seconds, pairs = "4", "1", 4.0, 1
    todo = loads(rates, image_rates, seconds)
    with ours_and_peer(config, engine_tower=True) as (server, peer):
        tokenizer = server.profile.args.generator.model.removeprefix("file:")
        strangers = Strangers()
        found = measure(server, peer, tokenizer, todo, pairs, strangers)
        known = settings(server.profile)
    runs = {
        load.name: {side: [one.model_dump() for one in of_side] for side, of_side in results.items()}
        for load, results in found.items()
    }
    options = {"pairs": pairs, "seconds": seconds, "tokens": [INPUT_TOKENS, OUTPUT_TOKENS]}
    details = {"options": options, "settings": known, "series": series(found), "runs": runs}
    publish("bench-serve", findings(found), details, strangers.most_cores)
