"""A folder goes into the library once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import pytest

from multimodal.client.ingest import Fate, Ingest, Options, Summary
from multimodal.errors import ConfigError, StageUnavailable
from multimodal.library.records import FileStatus
from multimodal.retrieval.types import Scalar
from tests.unit.api.library_fakes import file_id
from tests.unit.client.world import UPLOAD_BYTES, World, error, first


class Counts:
    """A View that counts."""

    def __init__(self) -> None:
        self.total_bytes = self.sent_bytes = self.waited = self.done = 0

    def begin(self, files: int, size_bytes: int) -> None:
        self.total_bytes = size_bytes

    def advance(self, size_bytes: int) -> None:
        self.sent_bytes += size_bytes

    def wait_for(self, files: int) -> None:
        self.waited = files

    def processed(self, files: int) -> None:
        self.done += files


@pytest.fixture
def world() -> World:
    """Processes everything while it is waited for."""
    world = World()
    world.on_sleep = world.process
    return world


@pytest.fixture
def view() -> Counts:
    return Counts()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "b.txt").write_text("second")
    (tmp_path / "deep" / "deeper" / "c.txt").write_text("third")
    return tmp_path


async def run(world: World, folder: Path, view: Counts | None = None, **options: object) -> Summary:
    made = Options(**options)  # type: ignore[arg-type]
    return await Ingest(world.server(), made, view or Counts(), sleep=world.sleep).run(folder)


def names(world: World) -> list[str]:
    return sorted(record.filename for record in world.files.records.values())


async def test_everything_is_sent_and_waited_for(world: World, folder: Path, view: Counts) -> None:
    summary = await run(world, folder, view)

    assert names(world) == ["a.txt", "b.txt", "c.txt"]
    assert sorted(world.files.data.values()) == [b"first", b"second", b"third"]
    assert (summary.fates, summary.processed, summary.failures) == ({Fate.SENT: 3}, 3, [])
    assert (view.total_bytes, view.sent_bytes, view.waited, view.done) == (16, 16, 3, 3)


async def test_a_second_run_sends_nothing(world: World, folder: Path, view: Counts) -> None:
    await run(world, folder)
    summary = await run(world, folder, view)

    assert world.uploads == 3
    assert (summary.fates, summary.processed, summary.waiting) == ({Fate.THERE: 3}, 3, 0)
    assert view.sent_bytes == view.total_bytes


async def test_changed_and_new_files_are_sent(world: World, folder: Path) -> None:
    await run(world, folder)
    (folder / "a.txt").write_text("changed")
    (folder / "new.txt").write_text("first")  # other name, known bytes
    summary = await run(world, folder)

    assert summary.fates == {Fate.THERE: 2, Fate.SENT: 2}
    assert names(world) == ["a.txt", "a.txt", "b.txt", "c.txt", "new.txt"]


async def test_equal_files_of_one_run_are_sent_once(world: World, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "same.txt").write_text("same")
    summary = await run(world, tmp_path, concurrency=4)

    assert world.uploads == 1
    assert summary.fates == {Fate.SENT: 1, Fate.THERE: 5}


async def test_a_run_that_was_stopped_goes_on(world: World, folder: Path) -> None:
    def stop(request: httpx.Request) -> None:
        """As Ctrl-C does, when one file is there and the server has answered nothing yet."""
        if request.method == "POST":
            running.cancel()

    world.after = stop
    running = asyncio.create_task(run(world, folder, concurrency=1))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert names(world) == ["a.txt"]

    world.after = lambda request: None
    summary = await run(world, folder, concurrency=1)
    assert summary.fates == {Fate.THERE: 1, Fate.SENT: 2}
    assert names(world) == ["a.txt", "b.txt", "c.txt"]


async def test_without_waiting(world: World, folder: Path) -> None:
    summary = await run(world, folder, wait=False)
    assert (summary.processed, summary.waiting) == (0, 3)
    assert not any(method == "GET" and path != "/v1/files" for method, path in world.requests)


async def test_purpose_and_metadata_go_along(world: World, folder: Path) -> None:
    metadata: dict[str, Scalar] = {"year": 2026, "who": "Grüße\n", "ok": True}
    await run(world, folder, purpose="vision", metadata=metadata)
    for record in world.files.records.values():
        assert (record.purpose, dict(record.metadata)) == ("vision", metadata)


# --- what is sent ------------------------------------------------------------------------------


async def test_hidden_and_empty_files_are_left_out(world: World, tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("x")
    (tmp_path / "empty.txt").touch()
    os.mkfifo(tmp_path / "pipe")
    summary = await run(world, tmp_path)

    assert world.uploads == 0
    assert (summary.fates, summary.failures) == ({Fate.EMPTY: 1}, [])


async def test_links_do_not_lead_out_of_the_folder(world: World, tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (inside / "a.txt").write_text("a")
    (inside / "out.txt").symlink_to(outside / "secret.txt")
    (inside / "out").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (inside / "broken.txt").symlink_to(inside / "nothing")
    (inside / "link.txt").symlink_to(inside / "a.txt")
    summary = await run(world, inside)

    assert names(world) == ["a.txt", "link.txt"]
    assert [failure.shown for failure in summary.failures] == ["broken.txt"]


@pytest.mark.parametrize(
    "name", ['say "hi".txt', "a;b=c.txt", "back\\slash.txt", "new\nline.txt", "Grüße 你好 🎉.txt", " x "]
)
async def test_any_name_is_recognised_again(world: World, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    await run(world, tmp_path)
    assert (await run(world, tmp_path)).fates == {Fate.THERE: 1}


async def test_names_that_are_no_text(world: World, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
    await run(world, tmp_path)
    assert (await run(world, tmp_path)).fates == {Fate.THERE: 1}


# --- what fails --------------------------------------------------------------------------------


async def test_a_file_that_is_refused_does_not_stop_the_others(world: World, folder: Path) -> None:
    (folder / "big.bin").write_bytes(b"x" * (UPLOAD_BYTES + 1))
    summary = await run(world, folder)

    (failure,) = summary.failures
    assert failure.shown == "big.bin"
    assert "Send a smaller" in failure.reason
    assert summary.processed == 3


async def test_processing_that_fails_is_told_and_tried_again_next_time(world: World, folder: Path) -> None:
    world.on_sleep = lambda: world.process(
        status=FileStatus.ERROR, error_code="invalid_media", error_message="It is damaged."
    )
    summary = await run(world, folder)
    assert {(failure.shown, failure.reason) for failure in summary.failures} == {
        ("a.txt", "It is damaged."),
        ("deep/b.txt", "It is damaged."),
        ("deep/deeper/c.txt", "It is damaged."),
    }

    world.on_sleep = world.process
    summary = await run(world, folder)
    assert (summary.fates, summary.processed, summary.failures) == ({Fate.RETRIED: 3}, 3, [])
    assert world.uploads == 3


async def test_a_file_that_is_deleted_meanwhile_is_told(world: World, folder: Path) -> None:
    world.on_sleep = world.files.records.clear
    summary = await run(world, folder)
    assert len(summary.failures) == 3
    assert "There is no file" in summary.failures[0].reason


async def test_a_file_that_changes_while_it_is_sent(world: World, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("short")

    def grow(request: httpx.Request) -> None:
        if "sha256" in request.url.params:
            path.write_text("longer than it was")

    world.before = grow
    summary = await run(world, tmp_path)
    assert [failure.reason for failure in summary.failures] == ["It was changed while it was sent."]
    assert world.files.records == {}


async def test_a_file_whose_bytes_change_while_it_is_sent(world: World, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("aaaaa")

    def change(request: httpx.Request) -> None:
        if "sha256" in request.url.params:
            path.write_text("bbbbb")

    world.before = change
    summary = await run(world, tmp_path)
    assert [failure.reason for failure in summary.failures] == ["It was changed while it was sent."]


async def test_a_file_that_is_gone(world: World, folder: Path) -> None:
    def remove(request: httpx.Request) -> None:
        if "sha256" in request.url.params:
            (folder / "a.txt").unlink(missing_ok=True)

    world.before = remove
    summary = await run(world, folder, concurrency=1)
    assert [(failure.shown, failure.reason) for failure in summary.failures] == [
        ("a.txt", "It cannot be read.")
    ]
    assert summary.processed == 2


# --- a server that is busy, or away ------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_passes_is_tried_again(world: World, folder: Path, view: Counts, status: int) -> None:
    world.before = first(3, lambda: error(status))
    summary = await run(world, folder, view, concurrency=1)

    assert world.slept_s[:3] == [1.0, 2.0, 4.0]
    assert (summary.processed, summary.failures) == (3, [])
    assert view.sent_bytes == view.total_bytes


async def test_the_server_says_how_long_to_wait(world: World, folder: Path) -> None:
    world.before = first(1, lambda: error(503, **{"retry-after": "17"}))
    await run(world, folder)
    assert world.slept_s[0] == 17.0

    world.slept_s.clear()
    (folder / "a.txt").write_text("other")
    world.before = first(1, lambda: error(503, **{"retry-after": "999999"}))
    await run(world, folder)
    assert world.slept_s[0] == 120.0


async def test_an_answer_that_was_lost_does_not_make_a_second_file(world: World, folder: Path) -> None:
    def lose() -> httpx.Response:
        raise httpx.ReadError("reset")

    world.after = first(1, lose)
    summary = await run(world, folder, concurrency=1)

    assert names(world) == ["a.txt", "b.txt", "c.txt"]
    assert world.uploads == 3
    assert summary.processed == 3


async def test_errors_of_the_store_end_after_some_tries(world: World, folder: Path) -> None:
    world.files.error = StageUnavailable("The store is down.")
    summary = await run(world, folder)
    assert {failure.reason for failure in summary.failures} == {"The store is down."}
    assert len(world.slept_s) == 3 * 7


async def test_a_server_that_is_not_there_is_said_once_and_soon(world: World, folder: Path) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    world.before = refuse
    with pytest.raises(ConfigError, match=r"No server answers at http://localhost:8000\. Start it"):
        await run(world, folder)
    assert world.slept_s == [1.0, 2.0]


async def test_a_server_that_goes_away_ends_the_run(world: World, folder: Path) -> None:
    def refuse() -> httpx.Response:
        raise httpx.ConnectError("refused")

    world.before = first(1000, refuse)
    with pytest.raises(ConfigError, match="No server answers"):
        await run(world, folder)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_ends_the_run(world: World, folder: Path, status: int) -> None:
    world.before = lambda request: error(status, "Send a known API key.")
    with pytest.raises(ConfigError, match=r"Send a known API key\. The key is taken from"):
        await run(world, folder)
    assert world.slept_s == []


@pytest.mark.parametrize("content", [b"<html>", b"{}", b'{"data": [{"id": 1}]}'])
async def test_another_kind_of_server_ends_the_run(world: World, folder: Path, content: bytes) -> None:
    world.before = lambda request: httpx.Response(200, content=content)
    with pytest.raises(ConfigError, match="no multimodal server"):
        await run(world, folder)


async def test_polling_slows_down_and_asks_for_the_oldest_only(world: World, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text(str(number))
    rounds = 0

    def one_more() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 5:
            world.process()

    world.on_sleep = one_more
    summary = await run(world, tmp_path, concurrency=1)

    assert summary.processed == 20
    assert world.slept_s == [0.5, 0.75, 1.125, 1.6875, 2.53125]
    asked = [path for method, path in world.requests if path == f"/v1/files/{file_id(20)}"]
    assert len(asked) == 1
