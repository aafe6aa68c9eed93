"""The index on a server, as far as that goes without one: what is asked, and what failures become."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar, cast

import pytest
from qdrant_client import QdrantClient

from multimodal.errors import ConfigError, MultimodalError, StageUnavailable
from multimodal.retrieval.lexical import term_id
from multimodal.retrieval.server import QdrantStore, make_client
from multimodal.retrieval.types import SegmentFilter, VectorName
from tests.unit.retrieval.segments import ARGS, SIZES, segment
from tests.unit.retrieval.stores import local_store

WORDS = VectorName.WORDS
MINILM = {WORDS: "embedded:minilm"}


def test_a_second_replica_uses_the_same_collection() -> None:
    client = QdrantClient(":memory:")
    local_store(client).upsert([segment(0)])
    assert local_store(client).count("ann", SegmentFilter()) == 1


def test_a_collection_for_something_else_is_refused() -> None:
    client = QdrantClient(":memory:")
    local_store(client, {WORDS: 4}, MINILM)
    for sizes, models in [({WORDS: 8}, MINILM), (SIZES, MINILM), ({WORDS: 4}, {WORDS: "embedded:other"})]:
        with pytest.raises(ConfigError, match=r"retriever\.collection"):
            local_store(client, sizes, models)
    local_store(client, {WORDS: 4}, MINILM)


def test_a_collection_of_somebody_else_is_refused() -> None:
    client = QdrantClient(":memory:")
    client.create_collection(ARGS.collection, vectors_config={})
    with pytest.raises(ConfigError, match="schema 0"):
        local_store(client)


def test_a_collection_of_another_library_is_refused() -> None:
    client = QdrantClient(":memory:")
    local_store(client, owner="one")
    local_store(client, owner="one")
    with pytest.raises(ConfigError, match=r"another library.*retriever\.collection"):
        local_store(client, owner="two")
    local_store(client)


def test_a_collection_of_nobody_belongs_to_the_first_library_that_says_so() -> None:
    client = QdrantClient(":memory:")
    local_store(client, {WORDS: 4}, MINILM)
    local_store(client, {WORDS: 4}, MINILM, owner="one")
    with pytest.raises(ConfigError, match="another library"):
        local_store(client, {WORDS: 4}, MINILM, owner="two")
    with pytest.raises(ConfigError, match="another model"):
        local_store(client, {WORDS: 4}, {WORDS: "embedded:other"})


def test_what_another_replica_stores_is_counted_at_once_where_there_was_nothing() -> None:
    client = QdrantClient(":memory:")
    one, other = local_store(client), local_store(client)
    term = term_id("fox")
    assert one.document_frequencies("ann", [term]) == {term: 0}
    other.upsert([segment(0, text="fox")])
    assert one.document_frequencies("ann", [term]) == {term: 1}
    other.upsert([segment(1, text="fox")])
    assert one.document_frequencies("ann", [term]) == {term: 1}, "it may lag behind"
    one.upsert([segment(2, text="fox")])
    assert one.document_frequencies("ann", [term]) == {term: 3}


def test_counts_are_asked_for_once(server: str) -> None:
    store = connected(server)
    Server.bodies.clear()
    for _ in range(2):
        assert store.document_frequencies("ann", [1, 2]) == {1: 3, 2: 3}
        assert store.count("ann", SegmentFilter()) == 3
    assert [path.partition("?")[0].endswith("/count") for _, path, _ in Server.bodies] == [True] * 3
    store.close()


class Server(BaseHTTPRequestHandler):
    """Answers every request alike, and remembers them."""

    status: ClassVar[int] = 200
    bodies: ClassVar[list[tuple[str, str, object]]] = []
    keys: ClassVar[set[str | None]] = set()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.keys.add(self.headers.get("api-key"))
        self.bodies.append((self.command, self.path, json.loads(body) if body else None))
        text = json.dumps(self.reply() if self.status == 200 else {"status": {"error": "no"}}).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if self.status == 429:
            self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(text)

    def reply(self) -> dict[str, object]:
        if self.path.endswith("/exists"):
            return {"result": {"exists": False}, "status": "ok", "time": 0.0}
        if self.command == "GET":
            return {"result": COLLECTION, "status": "ok", "time": 0.0}
        if self.path.partition("?")[0].endswith("/count"):
            return {"result": {"count": 3}, "status": "ok", "time": 0.0}
        if "index" in self.path or "points" in self.path:
            return {"result": {"operation_id": 1, "status": "completed"}, "status": "ok", "time": 0.0}
        return {"result": True, "status": "ok", "time": 0.0}

    do_GET = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal."""


COLLECTION = {
    "status": "green",
    "optimizer_status": "ok",
    "segments_count": 1,
    "config": {
        "params": {},
        "hnsw_config": {"m": 0, "ef_construct": 100, "full_scan_threshold": 10},
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
        },
        "metadata": {"schema": 1, "sizes": {"picture": 4, "words": 4}, "models": {}},
    },
    "payload_schema": {},
}


@pytest.fixture
def server() -> Iterator[str]:
    """Its URL."""
    Server.status = 200
    Server.bodies.clear()
    Server.keys.clear()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()


def connected(url: str) -> QdrantStore:
    return QdrantStore(make_client(url, None, 5.0), ARGS, SIZES)


def test_the_collection_is_made_for_many_tenants(server: str) -> None:
    connected(server).close()
    made = created()
    assert (made["hnsw_config"]["m"], made["hnsw_config"]["payload_m"]) == (0, ARGS.hnsw_m)
    assert made["optimizers_config"]["indexing_threshold"] == ARGS.index_from * 4 * 4 // 1024
    assert made["vectors"]["look"]["datatype"] == "float16"
    assert set(made["vectors"]) == {"picture", "words", "look"}
    assert set(made["sparse_vectors"]) == {"lexical"}
    indexes = {body["field_name"]: body["field_schema"] for body in index_bodies()}
    assert indexes["tenant"]["is_tenant"] is True
    assert set(indexes) >= {
        "tenant",
        "file_id",
        "kind",
        "part",
        "meta_eq",
        "terms",
        "created_s",
        "duration_s",
    }


def created() -> dict[str, Any]:
    (body,) = [
        body
        for method, path, body in Server.bodies
        if method == "PUT" and path.partition("?")[0] == f"/collections/{ARGS.collection}"
    ]
    return cast("dict[str, Any]", body)


def index_bodies() -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", body) for _, path, body in Server.bodies if "/index" in path]


def test_writes_wait_until_they_are_applied(server: str) -> None:
    store = connected(server)
    Server.bodies.clear()
    store.upsert([segment(0)])
    store.delete_files("ann", ["file-a"])
    assert [("wait=true" in path) for _, path, _ in Server.bodies] == [True, True]
    store.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, StageUnavailable), (503, StageUnavailable), (429, StageUnavailable), (401, ConfigError)],
)
def test_failures_are_errors_of_ours(server: str, status: int, kind: type[MultimodalError]) -> None:
    store = connected(server)
    Server.status = status
    calls: list[Callable[[], object]] = [
        store.check_health,
        store.files,
        lambda: store.upsert([segment(0)]),
        lambda: store.delete_files("ann", ["file-a"]),
        lambda: store.count("ann", SegmentFilter()),
    ]
    for call in calls:
        with pytest.raises(kind) as caught:
            call()
        assert "127.0.0.1" not in caught.value.message
        assert (caught.value.retry_after_s is not None) == (kind is StageUnavailable)
    store.close()


def test_a_server_that_is_not_there_is_said_to_be_unavailable(server: str) -> None:
    nobody = server.rpartition(":")[0] + ":9"
    with pytest.raises(StageUnavailable, match="cannot be reached"):
        connected(nobody)


def test_the_key_goes_with_every_request(server: str) -> None:
    with pytest.warns(UserWarning, match="insecure"):
        client = make_client(server, "secret", 5.0)
    QdrantStore(client, ARGS, SIZES).close()
    assert Server.keys == {"secret"}
