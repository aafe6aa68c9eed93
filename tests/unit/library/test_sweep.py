"""What crashes left is repaired."""

from __future__ import annotations

from dataclasses import replace

import pytest

from multimodal.errors import StageUnavailable
from multimodal.library.records import FileStatus
from multimodal.library.segments import of_picture
from multimodal.library.sweep import Sweep
from multimodal.types import ImageText, MediaKind
from tests.fakes import seen
from tests.library_fakes import FakeLibraryStages, FakeShelf, a_file


def indexed(stages: FakeLibraryStages, number: int, tenant: str) -> None:
    """As if the file had been processed."""
    file = a_file(number, MediaKind.IMAGE, tenant=tenant)
    for segment in of_picture(file, seen(None), ImageText(lines=())):
        stages.segments[tenant][segment.id] = segment


@pytest.fixture
def stages() -> FakeLibraryStages:
    return FakeLibraryStages()


@pytest.fixture
def shelf() -> FakeShelf:
    return FakeShelf()


async def test_a_file_that_was_deleted_halfway_is_purged(stages: FakeLibraryStages, shelf: FakeShelf) -> None:
    for number, tenant in ((1, "ann"), (2, "bob"), (3, "ann")):
        shelf.put(a_file(number, MediaKind.IMAGE, tenant=tenant))
        indexed(stages, number, tenant)
    shelf.delete(a_file(1, None).id)
    shelf.delete(a_file(2, None).id)
    assert await Sweep(stages, shelf).once()
    assert shelf.unpurged == []
    assert [one.file_id[-1] for one in stages.segments["ann"].values()] == ["3"]
    assert not stages.segments["bob"]


async def test_segments_of_files_that_are_not_there_are_forgotten(
    stages: FakeLibraryStages, shelf: FakeShelf
) -> None:
    shelf.put(a_file(1, MediaKind.IMAGE))
    for number, tenant in ((1, "ann"), (2, "ann"), (1, "bob")):
        indexed(stages, number, tenant)
    assert await Sweep(stages, shelf).once()
    assert [one.file_id[-1] for one in stages.segments["ann"].values()] == ["1"]
    assert not stages.segments["bob"]


async def test_bytes_without_files_are_deleted_even_if_the_index_is_away(
    stages: FakeLibraryStages, shelf: FakeShelf
) -> None:
    stages.failures["indexed_files"] = [StageUnavailable.restarting("Retriever")]
    sweep = Sweep(stages, shelf)
    assert not await sweep.once()
    assert shelf.sweeps == 1
    assert await sweep.once()


async def test_a_file_is_not_purged_before_its_segments_are_forgotten(
    stages: FakeLibraryStages, shelf: FakeShelf
) -> None:
    shelf.put(a_file(1, MediaKind.IMAGE))
    shelf.delete(a_file(1, None).id)
    stages.failures["forget_files"] = [StageUnavailable.restarting("Retriever")]
    sweep = Sweep(stages, shelf)
    assert not await sweep.once()
    assert shelf.unpurged == [("ann", a_file(1, None).id)]
    assert await sweep.once()
    assert shelf.unpurged == []


async def test_files_whose_segments_are_lost_are_processed_again(
    stages: FakeLibraryStages, shelf: FakeShelf
) -> None:
    for number, segments in ((1, 1), (2, 1), (3, 0)):
        file = replace(a_file(number, MediaKind.IMAGE), status=FileStatus.PROCESSED, segments=segments)
        shelf.put(file)
    indexed(stages, 1, "ann")
    assert await Sweep(stages, shelf).once()
    waiting = [one.id[-1] for one in shelf.files.values() if one.status is FileStatus.UPLOADED]
    assert waiting == ["2"]


async def test_files_in_which_something_is_wrong_have_no_segments(
    stages: FakeLibraryStages, shelf: FakeShelf
) -> None:
    """Such as those of the first pages of a document that the Ingestor died of."""
    shelf.put(replace(a_file(1, MediaKind.DOCUMENT), status=FileStatus.ERROR))
    shelf.put(replace(a_file(2, MediaKind.IMAGE), status=FileStatus.PROCESSING))
    for number in (1, 2):
        indexed(stages, number, "ann")
    assert await Sweep(stages, shelf).once()
    assert [one.file_id[-1] for one in stages.segments["ann"].values()] == ["2"]
