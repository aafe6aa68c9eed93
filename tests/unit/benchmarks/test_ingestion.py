from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count

import psutil
import pytest
from aiohttp import BodyPartReader, ClientSession, web
from aiohttp.test_utils import TestServer

from benchmarks import ingestion
from benchmarks.ingestion import Batch, Client, Measurement, Options, Pair, Turn, live_ratios, summarise
from benchmarks.uploads import KINDS, MIX, Source
from multimodal.media.sniff import recognise

OPTIONS = Options(rounds=2, files=2, pairs=2, requests=3)
KIND_NAMES = {"pictures": "image", "documents": "document", "recordings": "audio", "clips": "video"}


class FakeServer:
    """A file is processed when it was asked for twice; one that is called `bad` never is."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.names: dict[str, str] = {}
        self.embedded: list[tuple[str, bool]] = []
        """Texts, and whether a file was being processed."""
        self._ids = count()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files", self._list)
        app.router.add_get("/v1/files/{id}", self._get)
        app.router.add_post("/v1/embeddings", self._embed)
        return app

    async def _upload(self, request: web.Request) -> web.Response:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "file":
                file_id = f"file-{next(self._ids)}"
                self.names[file_id] = part.filename or ""
                await part.read()
        return web.json_response({"id": file_id, "status": "uploaded", "segments": 0})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"data": []})

    async def _get(self, request: web.Request) -> web.Response:
        file_id = request.match_info["id"]
        self.asked[file_id] += 1
        status = "processed" if self.asked[file_id] > 1 else "processing"
        if self.names[file_id] == "bad":
            status = "error"
        return web.json_response(
            {"id": file_id, "status": status, "segments": 3, "status_details": "It is broken."}
        )

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.embedded.append((body["input"], any(self.asked[one] < 2 for one in self.names)))
        return web.json_response({"data": []})


def on_server(work: Callable[[FakeServer, Client], Awaitable[None]]) -> None:
    async def run() -> None:
        fake = FakeServer()
        async with TestServer(fake.app()) as server, ClientSession() as session:
            await work(fake, Client(session, str(server.make_url("")).rstrip("/")))

    asyncio.run(run())


def _batch(files: int, segments: int, seconds: float) -> Batch:
    return Batch(files=files, segments=segments, bytes=9, seconds=seconds, cpu_s=2.0, others=0.0)


def _pair(busy_ms: float, quiet_ms: float) -> Pair:
    busy = Turn(requests=9, p50_ms=busy_ms, p99_ms=10 * busy_ms)
    quiet = Turn(requests=9, p50_ms=quiet_ms, p99_ms=2 * quiet_ms)
    return Pair(quiet=quiet, busy=busy, batch=_batch(1, 1, 1.0))


def test_speed_is_counted_from_the_upload_to_the_last_processed_file() -> None:
    medians = summarise([_batch(4, 8, 2.0), _batch(4, 8, 4.0), _batch(4, 8, 8.0)])
    assert (medians["files_per_s"], medians["segments_per_s"]) == (1, 2)
    assert (medians["segments_per_file"], medians["cpu_s_per_file"]) == (2, 0.5)


def test_ratios_of_live_requests_are_busy_over_quiet() -> None:
    ratios = live_ratios([_pair(20, 10), _pair(30, 15)])
    assert ratios["p50_ms"] == {"value": 2, "low": 2, "high": 2}
    assert ratios["p99_ms"]["value"] == 10


def test_each_kind_is_ingested_in_each_round_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "POLL_S", 0.01)

    async def work(fake: FakeServer, client: Client) -> None:
        batches = await Measurement(client, psutil.Process(), OPTIONS).throughput()
        assert batches.keys() == {*MIX, ingestion.ALL_KINDS}
        assert {kind: [one["files"] for one in found] for kind, found in batches.items()} == {
            **{kind: [2, 2] for kind in MIX},
            ingestion.ALL_KINDS: [sum(MIX.values())] * 2,
        }
        assert all(one["segments"] == 3 * one["files"] for found in batches.values() for one in found)
        assert len(fake.names) == len(set(fake.names.values()))

    on_server(work)


def test_busy_turns_last_as_long_as_their_batch_and_quiet_ones_see_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingestion, "POLL_S", 0.01)

    async def work(fake: FakeServer, client: Client) -> None:
        measurement = Measurement(client, psutil.Process(), OPTIONS)
        assert (await measurement.quiet())["requests"] == OPTIONS.requests
        assert not any(busy for _, busy in fake.embedded)
        turn, batch = await measurement.busy()
        assert any(busy for _, busy in fake.embedded)
        assert turn["requests"] == len(fake.embedded) - OPTIONS.requests
        assert batch["files"] == sum(MIX.values())
        texts = [text for text, _ in fake.embedded]
        assert len(set(texts)) == len(texts)

    on_server(work)


def test_a_file_that_cannot_be_processed_ends_the_benchmark() -> None:
    async def work(fake: FakeServer, client: Client) -> None:
        fake.names["file-9"] = "bad"
        with pytest.raises(RuntimeError, match="It is broken"):
            await client.wait(["file-9"])

    on_server(work)


def test_no_two_files_are_the_same_and_each_is_of_its_kind() -> None:
    source = Source()
    for kind in KINDS:
        batch = source.batch(kind, 3) + source.batch(kind, 1)
        assert len({one.data for one in batch}) == len(batch)
        assert {recognise(one.data, one.name)[0] for one in batch} == {KIND_NAMES[kind]}
