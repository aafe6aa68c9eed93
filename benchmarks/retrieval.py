"""Filtered search: the bare engine, the product's SearchEngine over it, and POST /v1/search. And recall."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypedDict, get_args

import psutil
import typer
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks import made_up, processes
from benchmarks.asking import (
    BOTH,
    TOP,
    Answer,
    Http,
    InProcess,
    Side,
    Turn,
    Twin,
    dense_body,
    embeddings_body,
    hybrid_body,
    take_turn,
)
from benchmarks.common import RESULTS, Ratio, median, percentile, ratio_of_medians, run, write_results
from benchmarks.compare import BUSY_CORES
from benchmarks.filled import Filled, Made, encoder, sizes, write_rows
from benchmarks.image_encoder import in_child
from benchmarks.made_up import Question, Questions
from multimodal import serve_config
from multimodal.config import AppArgs
from multimodal.retrieval.types import SegmentFilter, VectorName
from multimodal.serving.background import running_server

CONFIG = Path("serve_config.yaml")
GRAPH = "benchmarks.search_app:app"
BARE, DENSE, BARE_HYBRID, HYBRID = "bare", "engine", "bare hybrid", "engine hybrid"
HTTP_DENSE, HTTP, HTTP_EMBEDDINGS = "http dense", "http", "http embeddings"

RATIOS = (
    (DENSE, BARE),
    (HYBRID, BARE_HYBRID),
    (HTTP_DENSE, BARE),
    (HTTP, BARE),
    (HTTP, BARE_HYBRID),
    (HTTP, HYBRID),
    (HTTP, HTTP_EMBEDDINGS),
)
"""What is compared with what."""
SAME = ((DENSE, BARE), (HYBRID, BARE_HYBRID), (HTTP, HYBRID))
"""Sides whose hits are compared."""

FILTERS: Mapping[str, Callable[[random.Random], SegmentFilter]] = {
    "tenant": made_up.anything,
    "tenant, kind": made_up.of_a_kind,
    "tenant, kind, metadata": made_up.in_an_album,
}
"""By name, for recall. Speed is measured with the last one."""

MetricName: TypeAlias = Literal["p50_ms", "p99_ms", "per_s"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)

WARM_UP = 20
"""Questions to each side that are not measured."""
IDLE_CORES, SETTLE_S = 0.6, 120.0
"""A server that has just started still works; it is waited for, though not for ever."""

console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    requests: int
    """To each side, at each number of clients."""
    turns: int
    clients: tuple[int, ...]
    recall: int
    """Questions."""
    seed: int


class Speed(TypedDict):
    """All turns at one number of clients."""

    clients: int
    ratios: dict[str, dict[str, dict[str, float]]]
    """"a / b" -> each of METRICS -> the ratio of medians over turns with its confidence interval."""
    sides: dict[str, dict[str, float]]
    """Percentiles over all answers; the others: medians over turns."""
    same_hits: dict[str, float]
    """"a / b" -> share of the hits of a that b has, too."""
    turns: dict[str, list[Turn]]


class Recall(TypedDict):
    """Approximate search beside exact search, both by the product's store."""

    vector: str
    filter: str
    matching: float
    """Segments that pass, on average."""
    recall: float
    """Share of the exact TOP that approximate search finds."""
    worst: float
    """Of one question."""
    approximate_ms: float
    exact_ms: float
    """Medians."""


# --- speed ---------------------------------------------------------------------------------------


def measure(
    sides: Mapping[str, Side], clients: int, draw: Callable[[int], list[Question]], options: Options
) -> Speed:
    """Turns of each side on the same questions, in an order that reverses each time."""
    for side in sides.values():
        take_turn(side, draw(WARM_UP), clients)
    order = list(sides)
    turns: dict[str, list[Turn]] = {name: [] for name in sides}
    answers: dict[str, list[Answer]] = {name: [] for name in sides}
    for _ in range(options.turns):
        questions = draw(max(1, options.requests // options.turns))
        for name in order:
            turn, found = take_turn(sides[name], questions, clients)
            turns[name].append(turn)
            answers[name] += found
        order.reverse()
    return summarise(clients, turns, answers)


def summarise(clients: int, turns: dict[str, list[Turn]], answers: Mapping[str, Sequence[Answer]]) -> Speed:
    """Ratios of medians first, absolute numbers second."""
    return Speed(
        clients=clients,
        ratios={
            f"{ours} / {theirs}": compare(turns[ours], turns[theirs])
            for ours, theirs in RATIOS
            if ours in turns and theirs in turns
        },
        sides={name: overall(turns[name], answers[name]) for name in turns},
        same_hits={
            f"{ours} / {theirs}": same_hits(answers[ours], answers[theirs])
            for ours, theirs in SAME
            if ours in turns and theirs in turns
        },
        turns=turns,
    )


def compare(ours: Sequence[Turn], theirs: Sequence[Turn]) -> dict[str, dict[str, float]]:
    """Of turns that were next to each other."""
    return {
        metric: asdict(ratio_of_medians([one[metric] for one in ours], [one[metric] for one in theirs]))
        for metric in METRICS
    }


def overall(turns: Sequence[Turn], answers: Sequence[Answer]) -> dict[str, float]:
    """Percentiles over all answers, medians over turns."""
    times_ms = [answer["ms"] for answer in answers]
    return {
        "p50_ms": percentile(times_ms, 50),
        "p99_ms": percentile(times_ms, 99),
        "per_s": median([turn["per_s"] for turn in turns]),
        "cpu_ms": median([turn["cpu_ms"] for turn in turns]),
        "others": max(turn["others"] for turn in turns),
    }


def same_hits(ours: Sequence[Answer], theirs: Sequence[Answer]) -> float:
    """Share of the hits of ours that theirs has for the same question. Raises RuntimeError without hits."""
    pairs = list(zip(ours, theirs, strict=True))
    hits = sum(len(a["ids"]) for a, _ in pairs)
    if not hits:
        raise RuntimeError("Nothing was found: is the folder that of another version? Name another one.")
    return sum(len(set(a["ids"]) & set(b["ids"])) for a, b in pairs) / hits


# --- recall --------------------------------------------------------------------------------------


def measure_recall(twin: Twin, questions: Questions, count: int) -> list[Recall]:
    """Of the large tenant, by each vector, with each filter."""
    return [
        _recall(twin, name, filter_name, questions.draw(count, make_filter))
        for name in BOTH
        for filter_name, make_filter in FILTERS.items()
    ]


def _recall(twin: Twin, name: VectorName, filter_name: str, asked: Sequence[Question]) -> Recall:
    shares, approximate_ms, exact_ms = [], [], []
    for question in asked:
        started_s = time.perf_counter()
        found = twin.store.nearest(made_up.LARGE_TENANT, name, question.vector, question.filter, TOP)
        found_s = time.perf_counter()
        exact = twin.exact(name, question)
        exact_ms.append(1e3 * (time.perf_counter() - found_s))
        approximate_ms.append(1e3 * (found_s - started_s))
        shares.append(len({one for one, _ in found} & set(exact)) / max(1, len(exact)))
    passing = [twin.store.count(made_up.LARGE_TENANT, question.filter) for question in asked]
    return Recall(
        vector=str(name),
        filter=filter_name,
        matching=sum(passing) / len(passing),
        recall=sum(shares) / len(shares),
        worst=min(shares),
        approximate_ms=median(approximate_ms),
        exact_ms=median(exact_ms),
    )


# --- all of it -----------------------------------------------------------------------------------


@contextmanager
def http_sides(filled: Filled) -> Iterator[dict[str, Side]]:
    """A server of its own on the filled folder."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = {"MULTIMODAL_STATE": str(filled.state.absolute())}
        server = stack.enter_context(running_server(write_config(folder), env=env))
        root = psutil.Process(server.pid)
        made: dict[str, Side] = {}
        for name, path, make_body in (
            (HTTP_DENSE, "/v1/search", dense_body),
            (HTTP, "/v1/search", hybrid_body),
            (HTTP_EMBEDDINGS, "/v1/embeddings", embeddings_body),
        ):
            made[name] = stack.enter_context(closing(Http(server.base_url, path, make_body, root)))
        wait_until_idle(root)
        be_as_nice_as(root)
        yield made


def embedded_args() -> AppArgs:
    """Of the embedded profile. Raises ConfigError where the file is not there or not sound."""
    return serve_config.read(CONFIG).args or AppArgs()


def write_config(folder: Path) -> Path:
    """The embedded profile with the graph of this benchmark."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    (application,) = config["applications"]
    application["import_path"] = GRAPH
    file = folder / CONFIG.name
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


def wait_until_idle(root: psutil.Process) -> None:
    """At its start the server looks through the whole library."""
    end_s = time.perf_counter() + SETTLE_S
    while processes.idle_cores(processes.tree(root)) > IDLE_CORES and time.perf_counter() < end_s:
        pass


def be_as_nice_as(root: psutil.Process) -> None:
    """Ray lowers the priority of its workers. All sides shall have the same."""
    os.nice(max(0, processes.niceness(processes.tree(root)) - os.nice(0)))


def run_size(filled: Filled, options: Options, with_http: bool) -> tuple[list[Speed], list[Recall]]:
    """All speeds and recalls with one number of segments."""
    with ExitStack() as stack:
        sides = dict(stack.enter_context(http_sides(filled))) if with_http else {}
        twin = stack.enter_context(closing(Twin(filled.twin, embedded_args(), sizes())))
        calls = {BARE: twin.bare, DENSE: twin.dense, BARE_HYBRID: twin.bare_hybrid, HYBRID: twin.hybrid}
        sides = {**{name: InProcess(call) for name, call in calls.items()}, **sides}
        questions = Questions(encoder(), options.seed)
        speeds = []
        for clients in options.clients:
            speed = measure(sides, clients, lambda count: questions.draw(count, made_up.in_an_album), options)
            show_speed(filled.points, speed)
            speeds.append(speed)
        recalls = measure_recall(twin, questions, options.recall)
        show_recall(filled.points, recalls)
    return speeds, recalls


def show_speed(points: int, speed: Speed) -> None:
    """Ratios first."""
    title = f"{points} segments, {speed['clients']} clients"
    table = Table(title=f"{title}: ratios [95 %]", title_justify="left")
    for heading in ("", *METRICS):
        table.add_column(heading, justify="right")
    for name, ratios in speed["ratios"].items():
        table.add_row(name, *(str(Ratio(**ratios[key])) for key in METRICS))
    console.print(table)
    table = Table(title=f"{title}: this machine", title_justify="left")
    for heading in ("", "p50 ms", "p99 ms", "answers/s", "CPU ms"):
        table.add_column(heading, justify="right")
    for name, side in speed["sides"].items():
        values = (side[key] for key in ("p50_ms", "p99_ms", "per_s", "cpu_ms"))
        table.add_row(name, *(f"{value:.2f}" for value in values))
    console.print(table)
    for name, share in speed["same_hits"].items():
        console.print(f"Same hits, {name}: {share:.1%}.")
    if (others := max(side["others"] for side in speed["sides"].values())) > BUSY_CORES:
        console.print(f"Other programs used up to {others:.2f} cores: run it again on an idle machine.")


def show_recall(points: int, recalls: Sequence[Recall]) -> None:
    """A row for each vector and filter."""
    table = Table(title=f"{points} segments: recall@{TOP} against exact search", title_justify="left")
    for heading in ("vector", "filter", "matching", "recall", "worst", "ms", "exact ms"):
        table.add_column(heading, justify="right")
    for one in recalls:
        numbers = f"{one['recall']:.4f}", f"{one['worst']:.1f}", f"{one['approximate_ms']:.2f}"
        table.add_row(
            one["vector"], one["filter"], f"{one['matching']:.0f}", *numbers, f"{one['exact_ms']:.2f}"
        )
    console.print(table)


STORAGE = {
    "vectors": ("vector_storage-picture", "vector_storage-words", "vector_storage-look"),
    "graph": ("vector_index-picture", "vector_index-words"),
    "payload": ("payload_storage", "payload_index"),
    "words": ("vector_storage-lexical", "vector_index-lexical"),
    "log": ("wal",),
}
"""What takes space, and in which folders of the engine."""


def show_made(made: Sequence[Made]) -> None:
    """What storing took."""
    table = Table(title="The index; bytes for each segment", title_justify="left")
    for heading in ("segments", "stored/s", "graph s", "bytes", "/ raw vectors", *STORAGE):
        table.add_column(heading, justify="right")
    for one in made:
        parts = (sum(one.parts_bytes.get(part, 0) for part in folders) for folders in STORAGE.values())
        table.add_row(
            str(one.points),
            f"{one.points / one.upsert_s:.0f}",
            f"{one.build_s:.0f}",
            f"{one.after_bytes / one.points:.0f}",
            f"{one.after_bytes / one.points / raw_bytes():.2f}",
            *(f"{part / one.points:.0f}" for part in parts),
        )
    console.print(table)


def raw_bytes() -> int:
    """Of one segment's vectors, as float32."""
    return 4 * sum(sizes().values())


def numbers(text: str) -> list[int]:
    """Of a list with commas."""
    return [int(one) for one in text.split(",")]


def main(
    points: Annotated[str, typer.Option(help="Segments, with commas.")] = "20000,200000",
    requests: Annotated[int, typer.Option(min=1, help="To each side, at each number of clients.")] = 1000,
    turns: Annotated[int, typer.Option(min=1, help="Of each side; they alternate.")] = 10,
    clients: Annotated[str, typer.Option(help="Clients at a time, with commas.")] = "1,8",
    recall: Annotated[int, typer.Option(min=1, help="Questions for each row of recall.")] = 100,
    folder: Annotated[Path, typer.Option(help="What is filled is kept here.")] = RESULTS / "retrieval",
    http: Annotated[bool, typer.Option("--http/--no-http", help="Measure a server, too.")] = True,
    seed: Annotated[int, typer.Option(help="Of the questions.")] = 0,
) -> None:
    """Compare POST /v1/search and SearchEngine with the bare engine; measure recall, storage and writes."""
    options = Options(
        requests=requests, turns=turns, clients=tuple(numbers(clients)), recall=recall, seed=seed
    )
    made, measured = [], []
    for count in numbers(points):
        filled = Filled(folder, count)
        made.append(in_child(fill, folder, count))
        speeds, recalls = run_size(filled, options, http)
        measured.append({"points": count, "made": made[-1].model_dump(), "speeds": speeds, "recall": recalls})
    show_made(made)
    results = {"options": asdict(options), "raw_bytes": raw_bytes(), "sizes": measured}
    console.print(f"Results: {write_results('retrieval', results)}")


def fill(folder: Path, count: int) -> Made:
    """In a process of its own: filling leaves memory behind."""
    filled = Filled(folder, count)
    made = filled.make(lambda text: console.print(text, highlight=False))
    write_rows(filled.state, count)
    return made


if __name__ == "__main__":
    run(main)
