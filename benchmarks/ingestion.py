"""Files and segments per second that a server ingests, and what live requests notice of it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypedDict, cast, get_args

import aiohttp
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import made_up, processes
from benchmarks.common import Ratio, median, percentile, ratio_of_medians, run, write_results
from benchmarks.compare import BUSY_CORES
from benchmarks.uploads import MIX, Source, Upload
from multimodal.serving.background import running_server

POLL_S = 0.25
"""Resolution of the time at which a file is processed. The server is asked as often in quiet turns."""
TIMEOUT_S = 600.0
"""For a batch of files."""
ALL_KINDS = "mix"

MetricName: TypeAlias = Literal["p50_ms", "p99_ms"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)

console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    rounds: int
    files: int
    """Of one kind, in each round."""
    pairs: int
    requests: int
    """In each quiet turn."""


class Batch(TypedDict):
    """Files that were uploaded together."""

    files: int
    segments: int
    bytes: int
    seconds: float
    """From the first byte sent until the last file was processed."""
    cpu_s: float
    """Of all processes of the server."""
    others: float
    """Cores that other programs kept busy; this one is none of them."""


class Turn(TypedDict):
    """Live requests, one after the other."""

    requests: int
    p50_ms: float
    p99_ms: float


class Pair(TypedDict):
    """Two turns, next to each other."""

    quiet: Turn
    busy: Turn
    """While a batch of all kinds was ingested."""
    batch: Batch


class RemoteFile(TypedDict):
    """What the server says of a file."""

    id: str
    status: str
    status_details: str | None
    segments: int


class Client:
    """Speaks to the server."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def upload(self, one: Upload) -> str:
        """The id of the file."""
        form = aiohttp.FormData()
        form.add_field("purpose", "user_data")
        form.add_field("file", one.data, filename=one.name)
        return (await self._file("POST", "/v1/files", form))["id"]

    async def wait(self, ids: Sequence[str]) -> list[RemoteFile]:
        """Ask until all are processed. Raises RuntimeError where one cannot be, TimeoutError."""
        async with asyncio.timeout(TIMEOUT_S):
            return [await self._processed(one) for one in ids]

    async def embed(self, text: str) -> float:
        """Milliseconds of a live request."""
        body = {"model": "text", "input": text, "encoding_format": "base64"}
        started_s = time.perf_counter()
        async with self._session.post(f"{self._url}/v1/embeddings", json=body) as response:
            await _checked(response)
        return 1e3 * (time.perf_counter() - started_s)

    async def look(self) -> None:
        """What `wait` costs, for as long as this is not cancelled."""
        while True:
            async with self._session.get(f"{self._url}/v1/files", params={"limit": "1"}) as response:
                await _checked(response)
            await asyncio.sleep(POLL_S)

    async def _processed(self, file_id: str) -> RemoteFile:
        while True:
            file = await self._file("GET", f"/v1/files/{file_id}", None)
            if file["status"] == "processed":
                return file
            if file["status"] == "error":
                raise RuntimeError(f"A file could not be processed: {file['status_details']}")
            await asyncio.sleep(POLL_S)

    async def _file(self, method: str, path: str, form: aiohttp.FormData | None) -> RemoteFile:
        async with self._session.request(method, f"{self._url}{path}", data=form) as response:
            await _checked(response)
            return cast("RemoteFile", await response.json())


async def _checked(response: aiohttp.ClientResponse) -> None:
    text = await response.text()
    if response.status != 200:
        raise RuntimeError(f"The server answered {response.status}: {text[:500]}")


class Measurement:
    """All turns, on one server."""

    def __init__(self, client: Client, server: psutil.Process, options: Options) -> None:
        self._client = client
        self._server = server
        self._options = options
        self._source = Source()
        self._texts: Iterator[str] = itertools.cycle(made_up.descriptions())

    async def throughput(self) -> dict[str, list[Batch]]:
        """Batches of each kind and of all kinds; the kinds take turns. The first round warms up."""
        kinds = [*MIX, ALL_KINDS]
        batches: dict[str, list[Batch]] = {kind: [] for kind in kinds}
        for number in range(self._options.rounds + 1):
            for kind in kinds:
                batch = await self.ingest(self._files(kind, 1 if number == 0 else self._options.files))
                if number:
                    batches[kind].append(batch)
        return batches

    def _files(self, kind: str, count: int) -> list[Upload]:
        return self._source.mix() if kind == ALL_KINDS else self._source.batch(kind, count)

    async def ingest(self, files: Sequence[Upload]) -> Batch:
        """Upload all of them at once, and wait."""
        working = processes.tree(self._server)
        everything, server = processes.CpuMeter(None), processes.CpuMeter(working)
        own = processes.CpuMeter([psutil.Process()])
        started_s = time.perf_counter()
        ids = await asyncio.gather(*(self._client.upload(one) for one in files))
        processed = await self._client.wait(ids)
        seconds = time.perf_counter() - started_s
        cores = server.cores()
        return Batch(
            files=len(files),
            segments=sum(one["segments"] for one in processed),
            bytes=sum(len(one.data) for one in files),
            seconds=seconds,
            cpu_s=cores * seconds,
            others=max(0.0, everything.cores() - cores - own.cores()),
        )

    async def live(self) -> list[Pair]:
        """Pairs of turns, quiet and busy, and then busy and quiet."""
        await self.quiet()
        pairs = []
        for number in range(self._options.pairs):
            if number % 2:
                busy, batch = await self.busy()
                quiet = await self.quiet()
            else:
                quiet = await self.quiet()
                busy, batch = await self.busy()
            pairs.append(Pair(quiet=quiet, busy=busy, batch=batch))
        return pairs

    async def quiet(self) -> Turn:
        """Nothing is ingested."""
        looking = asyncio.create_task(self._client.look())
        times_ms = [await self._client.embed(next(self._texts)) for _ in range(self._options.requests)]
        looking.cancel()
        await asyncio.wait([looking])
        return turn_of(times_ms)

    async def busy(self) -> tuple[Turn, Batch]:
        """For as long as a batch of all kinds takes."""
        ingesting = asyncio.create_task(self.ingest(self._source.mix()))
        times_ms = []
        while not ingesting.done():
            times_ms.append(await self._client.embed(next(self._texts)))
        return turn_of(times_ms), await ingesting


def turn_of(times_ms: Sequence[float]) -> Turn:
    """Percentiles. Raises ValueError without requests."""
    return Turn(requests=len(times_ms), p50_ms=percentile(times_ms, 50), p99_ms=percentile(times_ms, 99))


def summarise(batches: Sequence[Batch]) -> dict[str, float]:
    """Medians over batches."""
    return {
        "files_per_s": median([one["files"] / one["seconds"] for one in batches]),
        "segments_per_s": median([one["segments"] / one["seconds"] for one in batches]),
        "segments_per_file": median([one["segments"] / one["files"] for one in batches]),
        "cpu_s_per_file": median([one["cpu_s"] / one["files"] for one in batches]),
        "others": max(one["others"] for one in batches),
    }


def live_ratios(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Busy / quiet."""
    return {
        metric: asdict(
            ratio_of_medians(
                [pair["busy"][metric] for pair in pairs], [pair["quiet"][metric] for pair in pairs]
            )
        )
        for metric in METRICS
    }


def show_live(pairs: Sequence[Pair]) -> None:
    """Ratios first."""
    table = Table(title="POST /v1/embeddings while files are ingested", title_justify="left")
    for heading in ("", "busy / quiet [95 %]", "busy", "quiet"):
        table.add_column(heading, justify="right")
    ratios = live_ratios(pairs)
    for metric in METRICS:
        busy = median([pair["busy"][metric] for pair in pairs])
        quiet = median([pair["quiet"][metric] for pair in pairs])
        table.add_row(metric, str(Ratio(**ratios[metric])), f"{busy:.1f}", f"{quiet:.1f}")
    console.print(table)


def show_throughput(batches: dict[str, list[Batch]]) -> None:
    """A row for each kind."""
    table = Table(title="Ingestion, medians", title_justify="left")
    for heading in ("", "files/s", "segments/s", "segments/file", "CPU s/file"):
        table.add_column(heading, justify="right")
    summaries = {kind: summarise(found) for kind, found in batches.items()}
    for kind, one in summaries.items():
        names = ("files_per_s", "segments_per_s", "segments_per_file", "cpu_s_per_file")
        table.add_row(kind, *(f"{one[name]:.2f}" for name in names))
    console.print(table)
    if (others := max(one["others"] for one in summaries.values())) > BUSY_CORES:
        console.print(f"Other programs used up to {others:.2f} cores: run it again on an idle machine.")


async def measure(
    url: str, server: psutil.Process, options: Options
) -> tuple[dict[str, list[Batch]], list[Pair]]:
    """Throughput, then live requests."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        measurement = Measurement(Client(session, url), server, options)
        return await measurement.throughput(), await measurement.live()


def main(
    config: Annotated[Path, typer.Option(help="What is served.")] = Path("serve_config.yaml"),
    rounds: Annotated[int, typer.Option(min=1, help="Batches of each kind.")] = 3,
    files: Annotated[int, typer.Option(min=1, help="Files of one kind in a batch.")] = 6,
    pairs: Annotated[int, typer.Option(min=1, help="Quiet and busy turns of live requests.")] = 6,
    requests: Annotated[int, typer.Option(min=1, help="Live requests of a quiet turn.")] = 200,
) -> None:
    """Start a server, have it ingest files of each kind, and ask it for embeddings meanwhile."""
    options = Options(rounds=rounds, files=files, pairs=pairs, requests=requests)
    with running_server(config) as server:
        batches, turns = asyncio.run(measure(server.base_url, psutil.Process(server.pid), options))
    show_live(turns)
    show_throughput(batches)
    results = {
        "options": {**asdict(options), "config": str(config)},
        "ratios": live_ratios(turns),
        "medians": {kind: summarise(found) for kind, found in batches.items()},
        "batches": batches,
        "pairs": turns,
    }
    console.print(f"Results: {write_results('ingestion', results)}")


if __name__ == "__main__":
    run(main)
