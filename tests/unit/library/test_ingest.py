"""Files of every kind become segments; failures, deletions and restarts leave nothing wrong behind."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from multimodal.config import LibraryArgs, LoaderArgs
from multimodal.errors import (
    DeadlineExceeded,
    InvalidMedia,
    LostMedia,
    MediaTooLarge,
    MultimodalError,
    NoPictures,
    StageUnavailable,
)
from multimodal.library.background import PRIORITY
from multimodal.library.ingest import Outcome
from multimodal.library.records import Duplicate, FileStatus
from multimodal.library.retries import RESTARTS, TIMEOUTS
from multimodal.library.sweep import Sweep
from multimodal.retrieval.types import SegmentPart
from multimodal.types import (
    FrameSampling,
    Media,
    MediaKind,
    MediaSource,
    SpeechPlan,
)
from tests.encoder_fakes import vector_of
from tests.fakes import remembering, scene
from tests.library_fakes import a_file, clip, document, picture, sound
from tests.unit.library.ingesting import Bench, speech

IMAGE, AUDIO, VIDEO, DOCUMENT = MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO, MediaKind.DOCUMENT
PICTURE, SPEECH, PAGE, TEXT = (
    SegmentPart.PICTURE,
    SegmentPart.SPEECH,
    SegmentPart.PAGE,
    SegmentPart.TEXT,
)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def damaged(source: MediaSource) -> Media:
    raise InvalidMedia("This medium is damaged. Send it again.")


# --- kinds ---------------------------------------------------------------------------------------


async def test_a_picture(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, IMAGE))
    bench.stages.holds(file, picture())
    assert await bench.ingest().turn() is Outcome.PROCESSED
    (found,) = bench.stages.of(file)
    assert (found.part, found.text) == (PICTURE, "text-of-p")
    assert found.picture is not None
    assert bench.stages.picture is not None
    assert np.array_equal(found.picture, bench.stages.picture)
    assert found.words is not None
    assert np.array_equal(found.words, vector_of("text-of-p"))
    assert found.perceptual_hash is not None
    assert found.thumbnail
    assert bench.shelf.thumbnails[file.content.key, 0].startswith(b"\xff\xd8")
    record = bench.shelf.only()
    assert (record.status, record.segments) == (FileStatus.PROCESSED, 1)
    assert (record.duration_s, record.pages) == (None, None)


async def test_the_loader_is_told_where_the_bytes_lie_and_who_asks(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, VIDEO, tenant="bob"))
    bench.stages.holds(file, clip([1.0]))
    await bench.ingest().turn()
    (source, of_chats), (ctx, _) = bench.stages.sources, bench.stages.contexts
    assert source.data == b""
    assert (source.stored, source.filename) == (file.content, "1.bin")
    assert (source.frame_sampling, source.max_frames) == (FrameSampling.SCENE, bench.library.frames)
    assert (ctx.tenant, ctx.request_id, ctx.priority) == ("bob", f"ingest-{file.id}", PRIORITY)
    assert (of_chats.frame_sampling, of_chats.max_frames) == (FrameSampling.UNIFORM, None)


async def test_a_video_has_no_more_frames_than_the_loader_gives() -> None:
    bench = Bench(loader=LoaderArgs(max_frames=2, max_frames_limit=4))
    bench.stages.holds(bench.shelf.put(a_file(1, VIDEO)), clip([1.0]))
    await bench.ingest().turn()
    assert bench.stages.sources[0].max_frames == 4


async def test_a_video(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, VIDEO))
    bench.stages.holds(file, clip([0.0, 1.0, 2.0]))
    bench.stages.scenes = (scene(vector_of("red"), 2), scene(vector_of("blue"), 1, 2.0))
    bench.stages.transcript_of_video = speech(("Good morning to all of you.", 0.5, 2.5))
    await bench.ingest().turn()
    first, second, said = bench.stages.of(file)
    assert [one.part for one in (first, second, said)] == [PICTURE, PICTURE, SPEECH]
    assert first.perceptual_hash != second.perceptual_hash
    assert (first.thumbnail, second.thumbnail, said.thumbnail) == (True, True, False)
    assert said.words is not None
    assert len(bench.shelf.thumbnails) == 2
    assert bench.shelf.only().duration_s == 60.0


async def test_a_video_that_holds_only_sound_is_heard(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, VIDEO))

    def heard(source: MediaSource) -> Media:
        if source.kind is VIDEO:
            raise NoPictures("This file has no moving pictures in it.")
        return sound()

    bench.stages.holds(file, heard)
    assert await bench.ingest().turn() is Outcome.PROCESSED
    (found,) = bench.stages.of(file)
    assert (found.kind, found.part, found.text) == (VIDEO, SPEECH, "speech-of-s")


async def test_the_limit_of_recordings_is_not_named_to_who_sent_a_video(bench: Bench) -> None:
    def refuse(source: MediaSource) -> Media:
        if source.kind is VIDEO:
            raise NoPictures("This file has no moving pictures in it.")
        raise MediaTooLarge("Here a recording may have 200 MiB.")

    bench.stages.holds(bench.shelf.put(a_file(1, VIDEO)), refuse)
    assert await bench.ingest().turn() is Outcome.ERROR
    record = bench.shelf.only()
    assert (record.error_code, record.error_message) == (
        "no_pictures",
        "This file has no moving pictures in it.",
    )


async def test_a_video_with_damaged_pictures_is_not_taken_for_a_recording(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, VIDEO))
    bench.stages.holds(file, lambda source: damaged(source) if source.kind is VIDEO else sound())
    assert await bench.ingest().turn() is Outcome.ERROR
    assert bench.shelf.only().error_code == "invalid_media"
    assert bench.stages.of(file) == []


async def test_what_is_wrong_with_a_file_is_said_while_the_index_is_away(bench: Bench) -> None:
    bench.stages.holds(bench.shelf.put(a_file(1, IMAGE)), damaged)
    bench.stages.failures["forget_files"] = [StageUnavailable.restarting("Retriever")]
    assert await bench.ingest().turn() is Outcome.ERROR
    assert bench.shelf.only().error_code == "invalid_media"


async def test_a_video_with_neither_says_what_is_wrong_with_the_video(bench: Bench) -> None:
    def refuse(source: MediaSource) -> Media:
        raise InvalidMedia(f"This {source.kind} is damaged.")

    bench.stages.holds(bench.shelf.put(a_file(1, VIDEO)), refuse)
    assert await bench.ingest().turn() is Outcome.ERROR
    assert bench.shelf.only().error_message == "This video is damaged."


async def test_a_recording(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, AUDIO))
    bench.stages.holds(file, sound())
    bench.stages.transcript = speech(("Yes.", 0.0, 1.0), ("This is a whole sentence.", 1.2, 4.0))
    await bench.ingest().turn()
    (found,) = bench.stages.of(file)
    assert (found.part, found.text) == (SPEECH, "Yes. This is a whole sentence.")
    assert (found.start_s, found.end_s, found.duration_s) == (0.0, 4.0, 60.0)


async def test_a_long_recording_shows_how_far_it_is(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, AUDIO))
    bench.stages.holds(file, sound())
    windows = tuple(((i * 30.0, i * 30.0 + 30.0),) for i in range(8))
    bench.stages.plan = SpeechPlan(windows=windows, language="en", duration_s=240.0)
    bench.stages.gates = {"transcribe_part 120": asyncio.Event()}
    turn = asyncio.create_task(bench.ingest().turn())
    await bench.shelf.until(lambda: (file.id, "encode", 0.4) in bench.shelf.reports)
    bench.stages.gates["transcribe_part 120"].set()
    assert await turn is Outcome.PROCESSED
    assert [one.text for one in bench.stages.of(file)] == ["speech-from-0", "speech-from-120"]


async def test_a_silent_recording_is_processed_and_has_no_segments(bench: Bench) -> None:
    bench.stages.holds(bench.shelf.put(a_file(1, AUDIO)), sound())
    bench.stages.transcript = speech()
    assert await bench.ingest().turn() is Outcome.PROCESSED
    record = bench.shelf.only()
    assert (record.status, record.segments, record.duration_s) == (FileStatus.PROCESSED, 0, 60.0)


async def test_a_document_is_read_a_run_of_pages_at_a_time(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, DOCUMENT))
    texts = ["one", "two", "three", "four", "five"]
    bench.stages.holds(file, lambda source: document(texts, source.first_page, 2))
    await bench.ingest().turn()
    assert [source.first_page for source in bench.stages.sources] == [1, 3, 5]
    found = bench.stages.of(file)
    assert [one.part for one in found] == [PAGE, TEXT] * 5
    assert [one.ordinal for one in found] == list(range(10))
    assert [one.text for one in found if one.part is TEXT] == texts
    assert [one.page for one in found if one.part is PAGE] == [1, 2, 3, 4, 5]
    assert bench.stages.stored == [4, 4, 2]
    record = bench.shelf.only()
    assert (record.segments, record.pages) == (10, 5)
    assert len(bench.shelf.thumbnails) == 5


async def test_pages_are_no_duplicates_of_each_other(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, DOCUMENT))
    bench.stages.holds(file, document(["one"], 1, 1))
    await bench.ingest().turn()
    assert {one.perceptual_hash for one in bench.stages.of(file)} == {None}


async def test_a_document_without_looks_or_words(bench: Bench) -> None:
    bench.stages.holds(bench.shelf.put(a_file(1, DOCUMENT)), document([""], 1, 1, looks=False))
    assert await bench.ingest().turn() is Outcome.PROCESSED
    assert (bench.shelf.only().segments, bench.shelf.only().pages) == (0, 1)


async def test_a_text_that_the_model_cannot_read_at_once_has_a_vector_nevertheless(bench: Bench) -> None:
    bench.stages.text_limit = 6
    file = bench.shelf.put(a_file(1, DOCUMENT))
    bench.stages.holds(file, document(["short", "a text of many more words"], 1, 2, looks=False))
    assert await bench.ingest().turn() is Outcome.PROCESSED
    short, long = (one.words for one in bench.stages.of(file))
    assert short is not None
    assert np.array_equal(short, vector_of("short"))
    assert long is not None
    assert np.linalg.norm(long) == pytest.approx(1.0)


async def test_nothing_waits(bench: Bench) -> None:
    bench.shelf.put(a_file(1, None))
    assert await bench.ingest().turn() is None


# --- the same bytes --------------------------------------------------------------------------------


async def test_the_same_bytes_are_encoded_once(bench: Bench) -> None:
    first = bench.shelf.put(a_file(1, IMAGE, content="same"))
    bench.stages.holds(first, picture())
    await bench.ingest().turn()
    second = bench.shelf.put(replace(a_file(2, IMAGE, content="same"), metadata={"topic": "money"}))
    bench.stages.calls.clear()
    assert await bench.ingest().turn() is Outcome.COPIED
    assert not {"load", "encode_image", "read", "embed_text"} & set(bench.stages.calls)
    (original,), (copy,) = bench.stages.of(first), bench.stages.of(second)
    assert copy.id != original.id
    assert copy.metadata == {"topic": "money"}
    assert copy.picture is original.picture
    assert copy.words is original.words
    record = bench.shelf.files[second.id]
    assert (record.status, record.segments) == (FileStatus.PROCESSED, 1)


async def test_the_same_bytes_at_the_same_time_are_encoded_once() -> None:
    bench = Bench(library=LibraryArgs(concurrency=2))
    files = [bench.shelf.put(a_file(number, IMAGE, content="same")) for number in (1, 2)]
    bench.stages.holds(files[0], picture())
    ingest = bench.ingest()
    outcomes = await asyncio.gather(ingest.turn(), ingest.turn())
    assert list(outcomes) == [Outcome.PROCESSED, Outcome.COPIED]
    assert bench.stages.calls.count("load") == 1


async def test_a_twin_whose_segments_are_not_there_is_no_help(bench: Bench) -> None:
    twin = replace(a_file(1, IMAGE, content="same"), status=FileStatus.PROCESSED, segments=1)
    bench.shelf.put(twin)
    file = bench.shelf.put(a_file(2, IMAGE, content="same"))
    bench.stages.holds(file, picture())
    assert await bench.ingest().turn() is Outcome.PROCESSED
    assert len(bench.stages.of(file)) == 1


async def test_the_twin_of_a_silent_recording_is_silent_too(bench: Bench) -> None:
    twin = replace(a_file(1, AUDIO, content="same"), status=FileStatus.PROCESSED, duration_s=7.0)
    bench.shelf.put(twin)
    file = bench.shelf.put(a_file(2, AUDIO, content="same"))
    assert await bench.ingest().turn() is Outcome.COPIED
    assert bench.shelf.files[file.id].duration_s == 7.0


# --- duplicates ------------------------------------------------------------------------------------


async def both_ingested(bench: Bench, second: int, *, tenant: str = "ann") -> tuple[Duplicate, ...]:
    """Duplicates of a picture that is like one before, with this many levels of brightness added."""
    pixels = np.random.default_rng(5).integers(0, 200, (40, 60, 3), np.uint8)
    first = bench.shelf.put(a_file(1, IMAGE))
    other = bench.shelf.put(a_file(2, IMAGE, tenant=tenant))
    bench.stages.holds(first, picture(pixels))
    bench.stages.holds(other, picture(pixels + np.uint8(second)))
    ingest = bench.ingest()
    await ingest.turn()
    await ingest.turn()
    return bench.shelf.files[other.id].duplicates


async def test_a_picture_that_looks_like_another_is_reported(bench: Bench) -> None:
    (found,) = await both_ingested(bench, 10)
    assert found.file_id == a_file(1, IMAGE).id
    assert not found.exact
    assert found.similarity > 0.9


async def test_other_tenants_are_not_reported(bench: Bench) -> None:
    assert await both_ingested(bench, 10, tenant="bob") == ()


async def test_a_picture_that_says_something_else_is_no_duplicate(bench: Bench) -> None:
    pixels = picture().pixels
    for number, name in ((1, "questions"), (2, "answers")):
        file = bench.shelf.put(a_file(number, IMAGE))
        bench.stages.holds(file, replace(picture(pixels), sha256=name))
    ingest = bench.ingest()
    await ingest.turn()
    await ingest.turn()
    assert [one.duplicates for one in bench.shelf.files.values()] == [(), ()]


async def test_exact_duplicates_stay_listed_while_they_exist(bench: Bench) -> None:
    kept, gone = (Duplicate(file_id=a_file(n, AUDIO).id, similarity=1.0, exact=True) for n in (2, 3))
    file = bench.shelf.put(replace(a_file(1, AUDIO), duplicates=(kept, gone)))
    bench.shelf.put(replace(a_file(2, AUDIO), status=FileStatus.PROCESSED))
    bench.stages.holds(file, sound())
    await bench.ingest().turn()
    assert bench.shelf.files[file.id].duplicates == (kept,)


# --- failures --------------------------------------------------------------------------------------


async def test_a_damaged_file_says_why_and_is_not_tried_again(bench: Bench) -> None:
    bench.stages.holds(bench.shelf.put(a_file(1, IMAGE)), damaged)
    ingest = bench.ingest()
    assert await ingest.turn() is Outcome.ERROR
    record = bench.shelf.only()
    assert (record.status, record.error_code) == (FileStatus.ERROR, "invalid_media")
    assert record.error_message == "This medium is damaged. Send it again."
    assert await ingest.turn() is None


async def test_a_document_that_fails_in_the_middle_leaves_no_pages(bench: Bench) -> None:
    def two_pages(source: MediaSource) -> Media:
        return damaged(source) if source.first_page > 1 else document(["one", "two", "three"], 1, 2)

    file = bench.shelf.put(a_file(1, DOCUMENT))
    bench.stages.holds(file, two_pages)
    assert await bench.ingest().turn() is Outcome.ERROR
    assert bench.stages.stored == [4]
    assert bench.stages.of(file) == []


async def test_a_file_is_tried_again_when_a_stage_is_back(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, IMAGE))
    bench.stages.holds(file, picture())
    bench.stages.failures["read"] = [StageUnavailable.restarting("Reader"), StageUnavailable("Away.")]
    ingest = bench.ingest()
    assert await ingest.turn() is Outcome.INTERRUPTED
    assert await ingest.turn() is Outcome.INTERRUPTED
    assert await ingest.turn() is Outcome.PROCESSED
    assert [delay_s for _, delay_s in bench.shelf.released] == [30, 10.0]
    assert bench.shelf.only().attempts == 1


async def test_a_medium_that_is_lost_is_loaded_again_at_once(bench: Bench) -> None:
    bench.stages.holds(bench.shelf.put(a_file(1, IMAGE)), picture())
    bench.stages.failures["encode_image"] = [LostMedia("Decoded media were lost. Try again.")]
    assert await bench.ingest().turn() is Outcome.PROCESSED
    assert bench.stages.calls.count("load") == 2


@pytest.mark.parametrize(
    ("error", "tries"),
    [(StageUnavailable("Reader is away."), RESTARTS), (DeadlineExceeded("Reader is slow."), TIMEOUTS)],
)
async def test_a_file_is_not_tried_for_ever(bench: Bench, error: MultimodalError, tries: int) -> None:
    bench.stages.holds(bench.shelf.put(a_file(1, IMAGE)), picture())
    bench.stages.failures["read"] = [error] * tries
    ingest = bench.ingest()
    outcomes = [await ingest.turn() for _ in range(tries)]
    assert outcomes == [Outcome.INTERRUPTED] * (tries - 1) + [Outcome.ERROR]
    record = bench.shelf.only()
    assert record.error_code == error.code
    assert record.error_message is not None
    assert record.error_message.endswith(error.message)


async def test_work_that_takes_too_long_ends() -> None:
    bench = Bench(library=LibraryArgs(file_timeout_s=0.01))
    bench.stages.holds(bench.shelf.put(a_file(1, IMAGE)), picture())
    bench.stages.gates = {"read": asyncio.Event()}
    assert await bench.ingest().turn() is Outcome.ERROR
    record = bench.shelf.only()
    assert record.error_code == "deadline_exceeded"
    assert "file_timeout_s" in (record.error_message or "")


async def test_what_is_unexpected_is_logged_without_what_the_user_sent(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.stages.holds(bench.shelf.put(a_file(1, IMAGE)), picture())
    bench.stages.failures["read"] = [ValueError("the secret words")]
    with caplog.at_level(logging.ERROR, "multimodal.ingest"):
        assert await bench.ingest().turn() is Outcome.ERROR
    logged = json.loads(caplog.messages[0])
    assert (logged["event"], logged["file_id"]) == ("ingest_failed", a_file(1, IMAGE).id)
    assert logged["causes"][0]["error"] == "ValueError"
    assert "secret" not in caplog.text
    record = bench.shelf.only()
    assert record.error_code == "internal_error"
    assert "secret" not in (record.error_message or "")


# --- deletion, leases, restarts ----------------------------------------------------------------------


async def test_a_file_that_is_deleted_while_it_is_worked_on_leaves_nothing(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, IMAGE))
    bench.stages.holds(file, picture())
    bench.stages.gates = {"look_alikes": asyncio.Event()}
    turn = asyncio.create_task(bench.ingest().turn())
    await bench.shelf.until(lambda: bool(bench.shelf.thumbnails))
    bench.shelf.delete(file.id)
    bench.stages.gates["look_alikes"].set()
    assert await turn is Outcome.GONE
    assert bench.stages.of(file) == []


async def test_work_ends_when_the_lease_is_lost_and_the_next_owners_segments_stay() -> None:
    bench = Bench(library=LibraryArgs(lease_s=0.01))
    file = bench.shelf.put(a_file(1, IMAGE))
    bench.stages.holds(file, picture())
    bench.stages.gates = {"look_alikes": asyncio.Event()}
    turn = asyncio.create_task(bench.ingest().turn())
    await bench.shelf.until(lambda: "look_alikes" in bench.stages.calls)
    bench.shelf.lose_lease(file.id)
    assert await turn is Outcome.GONE
    assert "look_alikes" in bench.stages.cancelled
    assert len(bench.stages.of(file)) == 1
    bench.stages.gates = {}
    assert await bench.ingest().turn() is Outcome.PROCESSED
    assert len(bench.stages.of(file)) == 1


async def test_who_lost_the_lease_unnoticed_forgets_nothing_of_the_next_owner(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, DOCUMENT))
    bench.stages.holds(file, document(["one", "two"], 1, 2))
    await bench.ingest().turn()
    bench.shelf.files[file.id] = replace(bench.shelf.files[file.id], status=FileStatus.PROCESSING)
    bench.shelf.failures["report"] = [OSError("connection refused")] * 20

    def next_owner(source: MediaSource) -> Media:
        bench.shelf.owners[file.id] = "next"
        return document(["one"], 1, 1)

    bench.stages.holds(file, next_owner)
    assert await bench.ingest().turn() is Outcome.GONE
    assert [one.text for one in bench.stages.of(file)] == ["", "one", "", "two"]


async def test_a_document_that_ingestors_die_of_leaves_no_pages_after_the_sweep(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, DOCUMENT))
    bench.stages.holds(file, document(["one", "two"], 1, 2))
    await bench.ingest().turn()
    attempts = bench.shelf.attempts
    bench.shelf.files[file.id] = replace(file, status=FileStatus.PROCESSING, attempts=attempts)
    assert await bench.ingest().turn() is None
    assert bench.shelf.only().error_code == "processing_interrupted"
    assert await Sweep(bench.stages, bench.shelf).once()
    assert bench.stages.of(file) == []


async def test_the_lease_is_kept_while_work_takes_long() -> None:
    bench = Bench(library=LibraryArgs(lease_s=0.01))
    bench.stages.holds(bench.shelf.put(a_file(1, IMAGE)), picture())
    bench.stages.gates = {"read": asyncio.Event()}
    turn = asyncio.create_task(bench.ingest().turn())
    await bench.shelf.until(lambda: len(bench.shelf.reports) > 5)
    bench.stages.gates["read"].set()
    assert await turn is Outcome.PROCESSED


async def test_a_database_that_is_away_for_a_moment_does_not_end_the_work() -> None:
    bench = Bench(library=LibraryArgs(lease_s=0.01))
    bench.stages.holds(bench.shelf.put(a_file(1, IMAGE)), picture())
    bench.shelf.failures["report"] = [OSError("connection refused")] * 2
    bench.stages.gates = {"read": asyncio.Event()}
    turn = asyncio.create_task(bench.ingest().turn())
    await bench.shelf.until(lambda: len(bench.shelf.reports) > 2)
    bench.stages.gates["read"].set()
    assert await turn is Outcome.PROCESSED


async def test_what_a_crash_left_is_replaced(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, DOCUMENT))
    bench.stages.holds(file, document(["one", "two"], 1, 2))
    await bench.ingest().turn()
    bench.shelf.files[file.id] = replace(bench.shelf.files[file.id], status=FileStatus.PROCESSING)
    bench.stages.holds(file, document(["one"], 1, 2))
    bench.stages.once = remembering(0)
    assert await bench.ingest().turn() is Outcome.PROCESSED
    assert [one.text for one in bench.stages.of(file)] == ["", "one"]


async def test_a_file_that_is_interrupted_by_the_end_is_given_back_and_goes_on_after_a_restart(
    bench: Bench,
) -> None:
    file = bench.shelf.put(a_file(1, IMAGE))
    bench.stages.holds(file, picture())
    bench.stages.gates = {"read": asyncio.Event()}
    running = asyncio.create_task(bench.ingest().run())
    await bench.shelf.until(lambda: (file.id, "encode", 0.0) in bench.shelf.reports)
    running.cancel()
    await asyncio.wait([running])
    assert bench.shelf.released == [(file.id, 0.0)]
    assert "read" in bench.stages.cancelled
    bench.stages.gates = {}
    assert await bench.ingest().turn() is Outcome.PROCESSED


async def test_the_end_comes_even_if_a_file_cannot_be_given_back(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, IMAGE))
    bench.stages.holds(file, picture())
    bench.stages.gates = {"read": asyncio.Event()}
    bench.shelf.failures["release"] = [OSError("connection refused")]
    running = asyncio.create_task(bench.ingest().run())
    await bench.shelf.until(lambda: (file.id, "encode", 0.0) in bench.shelf.reports)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


# --- running -----------------------------------------------------------------------------------------


def shown(bench: Bench, stage: str) -> bool:
    return stage in [name for _, name, _ in bench.shelf.reports]


async def test_stages_are_shown_in_order(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, DOCUMENT))
    bench.stages.holds(file, lambda source: document(["one", "two"], source.first_page, 1))
    names = ("load", "read_document", "embed_text", "store_segments")
    bench.stages.gates = {name: asyncio.Event() for name in names}
    turn = asyncio.create_task(bench.ingest().turn())
    for name, stage in zip(names, ("load", "encode", "embed", "store"), strict=True):
        await bench.shelf.until(partial(shown, bench, stage))
        bench.stages.gates[name].set()
    await turn
    progress = [share for _, _, share in bench.shelf.reports]
    assert progress == sorted(progress)


async def test_no_more_files_than_allowed_are_worked_on_at_the_same_time() -> None:
    bench = Bench(library=LibraryArgs(concurrency=2, lease_s=1e6))
    for number in range(5):
        bench.stages.holds(bench.shelf.put(a_file(number, IMAGE)), picture())
    bench.stages.gates = {"read": asyncio.Event()}
    running = asyncio.create_task(bench.ingest().run())
    await bench.shelf.until(lambda: len(bench.shelf.owners) == 2)
    await asyncio.sleep(0)
    assert bench.stages.calls.count("load") <= 2
    bench.stages.gates["read"].set()
    await bench.shelf.until(
        lambda: all(one.status is FileStatus.PROCESSED for one in bench.shelf.files.values())
    )
    running.cancel()
    await asyncio.wait([running])
    assert len(bench.stages.sources) == 5


async def test_an_idle_ingestor_looks_again_and_a_failing_one_takes_pauses(bench: Bench) -> None:
    bench.shelf.failures["claim"] = [OSError("connection refused")] * 2
    running = asyncio.create_task(bench.ingest().run())
    await bench.shelf.until(lambda: bench.library.poll_s in bench.sleeps)
    running.cancel()
    await asyncio.wait([running])
    pauses = [seconds for seconds in bench.sleeps if seconds != bench.library.sweep_s]
    assert pauses[:3] == [2.0, 4.0, bench.library.poll_s]


async def test_it_sweeps_at_the_start_and_soon_again_after_a_failure(bench: Bench) -> None:
    bench.shelf.failures["sweep"] = [OSError("away")]
    running = asyncio.create_task(bench.ingest().run())
    await bench.shelf.until(lambda: bench.library.sweep_s in bench.sleeps)
    running.cancel()
    await asyncio.wait([running])
    assert 60.0 in bench.sleeps
    assert bench.shelf.sweeps >= 1


async def test_each_file_is_counted(bench: Bench) -> None:
    bench.stages.holds(bench.shelf.put(a_file(1, IMAGE)), picture())
    bench.stages.holds(bench.shelf.put(a_file(2, AUDIO)), damaged)
    ingest = bench.ingest()
    await ingest.turn()
    await ingest.turn()
    assert [(one.file.kind, one.outcome, one.segments) for one in bench.ended] == [
        (IMAGE, Outcome.PROCESSED, 1),
        (AUDIO, Outcome.ERROR, 0),
    ]
