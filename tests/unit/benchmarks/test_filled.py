from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import filled, made_up
from benchmarks.asking import Twin
from benchmarks.filled import Filled, allocated_bytes, write_rows
from benchmarks.made_up import Question, Questions
from multimodal.config import AppArgs
from multimodal.library.records import FileStatus
from multimodal.library.shelf import open_library
from multimodal.retrieval.types import SegmentFilter, VectorName
from tests.unit.benchmarks.test_made_up import DIMENSIONS, encode, vectors

POINTS = 2 * made_up.BATCH
SIZES = dict.fromkeys(VectorName, DIMENSIONS)


def ignore(_: str) -> None:
    """Nobody looks at the progress."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Filled in two runs: the first one was stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filled, "sizes", lambda: SIZES)
        patch.setattr(filled, "centres", lambda: vectors(50))
        patch.setattr(filled, "_SAVE_EVERY", 1)
        made = Filled(tmp_path_factory.mktemp("filled"), POINTS)

        def stop(progress: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            made.make(stop)
        assert made.made().done == made_up.BATCH
        made.make(ignore)
        write_rows(made.state, POINTS)
        yield made


@pytest.fixture(scope="module")
def twin(folder: Filled) -> Iterator[Twin]:
    with closing(Twin(folder.twin, AppArgs(), SIZES)) as twin:
        yield twin


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return Questions(encode, seed=2).draw(10, made_up.in_an_album)


def test_a_run_that_was_stopped_goes_on_and_nothing_is_missing(folder: Filled, twin: Twin) -> None:
    made = folder.made()
    assert made.ready
    assert made.done == POINTS
    assert min(made.upsert_s, made.build_s, made.before_bytes, made.after_bytes) > 0
    tenants = [made_up.LARGE_TENANT, *(f"tenant-{number}" for number in range(made_up.SMALL_TENANTS))]
    assert sum(twin.store.count(tenant, SegmentFilter()) for tenant in tenants) == POINTS


def test_what_is_there_is_not_made_again(folder: Filled) -> None:
    before = folder.made()
    assert folder.make(pytest.fail) == before


def test_what_another_version_made_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "1000").mkdir()
    stored = {"version": made_up.VERSION + 1, "points": 1000, "done": 1000, "ready": True}
    (tmp_path / "1000" / "made.json").write_text(json.dumps(stored))
    assert not Filled(tmp_path, 1000).made().ready


def test_points_that_are_no_whole_batches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batches of 1000"):
        Filled(tmp_path, 1500)


def test_every_file_of_a_segment_has_its_row(folder: Filled, twin: Twin, questions: list[Question]) -> None:
    (file_id, *_) = {
        one.file_id
        for one in twin.store.get(
            made_up.LARGE_TENANT, twin.hybrid(questions[0]), with_vectors=False
        ).values()
    }
    library = open_library(AppArgs(), folder.state)
    with closing(library):
        record = asyncio.run(library.get(made_up.LARGE_TENANT, file_id))
        assert record.status is FileStatus.PROCESSED
        assert record.segments == len(twin.store.of_file(record.tenant, file_id, with_vectors=False))


def test_both_ways_to_ask_answer_the_same_question(twin: Twin, questions: list[Question]) -> None:
    for question in questions:
        assert twin.bare(question) == twin.dense(question) == twin.exact(VectorName.WORDS, question)


def test_the_engines_own_fusion_finds_about_the_same(twin: Twin, questions: list[Question]) -> None:
    pairs = [(set(twin.hybrid(one)), set(twin.bare_hybrid(one))) for one in questions]
    assert sum(len(ours & theirs) for ours, theirs in pairs) > 0.6 * sum(len(ours) for ours, _ in pairs)


def test_holes_in_files_take_no_space(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert allocated_bytes(tmp_path) < 1 << 20
