"""Hub snapshots, against a small hub on loopback that speaks the real protocol."""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from multimodal.errors import ConfigError
from multimodal.models import hub
from multimodal.models.progress import Step, silent
from multimodal.models.refs import HubRef
from multimodal.models.store import ModelStore

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REF = HubRef("org/name", "main")
WEIGHTS = bytes(range(256)) * 1000


class Hub:
    """Files of one repository, and what was asked for."""

    def __init__(self) -> None:
        self.files = {"config.json": b"{}", "model.safetensors": WEIGHTS, "sub/tokenizer.json": b"[]"}
        self.downloads: list[str] = []
        self.url = ""

    def entry(self, path: str) -> dict[str, object]:
        content = self.files[path]
        found: dict[str, object] = {"rfilename": path, "path": path, "type": "file", "size": len(content)}
        found["oid"] = found["blobId"] = hashlib.sha1(content).hexdigest()
        if path.endswith((".safetensors", ".bin")):
            sha256 = hashlib.sha256(content).hexdigest()
            found["lfs"] = {"oid": sha256, "sha256": sha256, "size": len(content), "pointerSize": 130}
        return found

    def answer(self, path: str) -> tuple[int, bytes]:
        base = "/api/models/org/name"
        entries = [self.entry(name) for name in self.files]
        if path.startswith(f"{base}/revision/") and path.endswith(("/main", COMMIT)):
            info = {"id": "org/name", "sha": COMMIT, "siblings": entries, "private": False, "tags": []}
            return 200, json.dumps(info).encode()
        if path.startswith(f"{base}/tree/{COMMIT}"):
            return 200, json.dumps(entries).encode()
        name = path.removeprefix(f"/org/name/resolve/{COMMIT}/")
        return (200, self.files[name]) if name in self.files else (404, b"")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, served: Hub, *args: object) -> None:
        self.served = served
        super().__init__(*args)  # type: ignore[arg-type]  # what socketserver passes

    def do_HEAD(self) -> None:
        self.reply(body=False)

    def do_GET(self) -> None:
        self.reply(body=True)

    def reply(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        status, content = self.served.answer(path)
        if body and "/resolve/" in path:
            self.served.downloads.append(path.rpartition(COMMIT + "/")[2])
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Hub]:
    served = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield served
    server.shutdown()
    server.server_close()


def files_in(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_snapshot_holds_the_files_and_the_commit_they_belong_to(served: Hub, tmp_path: Path) -> None:
    seen: list[tuple[Step, int, int]] = []
    snapshot = hub.download(REF, tmp_path, lambda *call: seen.append(call), endpoint=served.url)
    assert files_in(tmp_path) == served.files
    assert snapshot.commit == COMMIT
    assert snapshot.sha256 == {"model.safetensors": hashlib.sha256(WEIGHTS).hexdigest()}
    total = sum(map(len, served.files.values()))
    assert seen[-1] == (Step.DOWNLOADING, total, total)


def test_files_that_could_run_code_are_never_asked_for(served: Hub, tmp_path: Path) -> None:
    harmless = dict(served.files)
    served.files |= {
        "pytorch_model.bin": pickle.dumps("x"),
        "modeling.py": b"raise SystemExit",
        "optimizer.pt": b"x",
        "sub/model.pkl": b"x",
        "flax_model.msgpack": b"x",
    }
    hub.download(REF, tmp_path, silent, endpoint=served.url)
    assert sorted(served.downloads) == sorted(harmless)
    assert files_in(tmp_path) == harmless


def test_a_repository_that_has_pickles_only_is_refused(served: Hub, tmp_path: Path) -> None:
    served.files = {"config.json": b"{}", "pytorch_model.bin": pickle.dumps("x")}
    with pytest.raises(ConfigError, match="pickles are not loaded"):
        hub.download(REF, tmp_path, silent, endpoint=served.url)
    assert served.downloads == []


@pytest.mark.parametrize("content", [pickle.dumps("x"), b"PK\x03\x04 a zip archive, as torch.save writes"])
def test_a_pickle_that_is_called_model_bin_is_refused(served: Hub, tmp_path: Path, content: bytes) -> None:
    served.files = {"config.json": b"{}", "model.bin": content}
    with pytest.raises(ConfigError, match="not in CTranslate2's format"):
        hub.download(REF, tmp_path, silent, endpoint=served.url)


def test_a_ctranslate2_model_is_taken(served: Hub, tmp_path: Path) -> None:
    served.files = {"config.json": b"{}", "model.bin": b"\x06\x00\x00\x00\x0c\x00WhisperSpec\x00"}
    hub.download(REF, tmp_path, silent, endpoint=served.url)
    assert files_in(tmp_path) == served.files


def test_files_of_another_commit_that_an_interrupted_pull_left_are_dropped(
    served: Hub, tmp_path: Path
) -> None:
    (tmp_path / "model-00002.safetensors").write_bytes(b"old")
    hub.download(REF, tmp_path, silent, endpoint=served.url)
    assert files_in(tmp_path) == served.files


def test_an_unknown_repository_is_said_to_be_unknown(served: Hub, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The hub has no hf:org/other@main.*HF_TOKEN"):
        hub.download(HubRef("org/other", "main"), tmp_path, silent, endpoint=served.url)


def test_a_hub_out_of_reach_is_one_clear_error_without_an_address(served: Hub, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Check the network") as raised:
        hub.download(REF, tmp_path, silent, endpoint="http://127.0.0.1:9")
    assert "127.0.0.1" not in raised.value.message


def test_a_pulled_snapshot_is_ready_in_the_store(served: Hub, tmp_path: Path) -> None:
    store = ModelStore(tmp_path, fetch_snapshot=partial(hub.download, endpoint=served.url))
    folder = store.pull(REF)
    assert store.verify(REF) == []
    assert (folder / "sub/tokenizer.json").read_bytes() == b"[]"
