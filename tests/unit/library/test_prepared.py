"""A file that was processed is known to the first chat about it: nothing is loaded or encoded again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from multimodal.cache.codec import Codec
from multimodal.cache.features import Beside, FeatureCache
from multimodal.cache.memory import MemoryTier
from multimodal.config import AppArgs, CacheArgs
from multimodal.encode_once import EncodeOnce
from multimodal.errors import ConfigError, InvalidMedia, StageUnavailable
from multimodal.identity import Identities
from multimodal.library.desk import chat_source
from multimodal.library.ingest import Outcome
from multimodal.library.records import FileRecord, FileStatus
from multimodal.recipes import Recipes
from multimodal.types import (
    FileReference,
    FrameSampling,
    Media,
    MediaKind,
    MediaSource,
    RequestContext,
    StageEvent,
    StoredContent,
    TranscriptPart,
)
from multimodal.understanding import Medium, Understood
from tests.encoder_fakes import vector_of
from tests.fakes import scene
from tests.library_fakes import FakeLibraryStages, a_file, clip, document, picture, sound
from tests.unit.library.ingesting import Bench

HELD: dict[MediaKind, Media] = {
    MediaKind.IMAGE: picture(),
    MediaKind.AUDIO: sound(),
    MediaKind.VIDEO: clip([0.0, 1.0, 30.0]),
    MediaKind.DOCUMENT: document(["one", "two"], 1, 32),
}


@dataclass
class Folder:
    """Beside one content."""

    kept: dict[str, bytes] = field(default_factory=dict)

    async def read(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def write(self, name: str, data: bytes) -> None:
        self.kept[name] = data


@dataclass
class Contents:
    folders: dict[str, Folder] = field(default_factory=dict)

    def __call__(self, content: StoredContent) -> Beside:
        return self.folders.setdefault(content.key, Folder())

    def once(self, *, keeps_beside: bool = False) -> EncodeOnce:
        """What another process knows: what lies beside the files."""
        identities = Identities(b"a secret of the tests")
        cache = FeatureCache(
            CacheArgs(), Codec(identities.seal_key()), MemoryTier(2**22), keeps_beside=keeps_beside
        )
        return EncodeOnce(identities, Recipes(AppArgs(), Path("no models")), cache, self)


@pytest.fixture
def contents() -> Contents:
    return Contents()


@pytest.fixture
def bench(contents: Contents) -> Bench:
    stages = FakeLibraryStages(
        picture=vector_of("red"),
        scenes=(scene(vector_of("red"), 3),),
        has_vision_tower=True,
        once=contents.once(keeps_beside=True),
    )
    return Bench(stages=stages)


async def processed(bench: Bench, kind: MediaKind, *, tenant: str = "ann") -> FileRecord:
    file = bench.shelf.put(a_file(1, kind, tenant=tenant))
    bench.stages.holds(file, HELD[kind])
    assert await bench.ingest().turn() is Outcome.PROCESSED
    return file


async def chat(
    stages: FakeLibraryStages,
    source: MediaSource,
    tenant: str = "ann",
    events: list[StageEvent | TranscriptPart] | None = None,
) -> Understood:
    ctx = RequestContext(request_id="chat", tenant=tenant, deadline_s=time.time() + 30)
    seen: list[StageEvent | TranscriptPart] = [] if events is None else events
    return await Medium(stages, AppArgs(), ctx, source, seen.append).understand("What is it?")


def attached(file: FileRecord, sampling: FrameSampling = FrameSampling.UNIFORM) -> MediaSource:
    """As a chat names it."""
    return chat_source(
        file, FileReference(file_id=file.id, param="messages.0.content.0", frame_sampling=sampling)
    )


@pytest.mark.parametrize("kind", MediaKind)
async def test_a_chat_about_a_file_encodes_nothing(bench: Bench, kind: MediaKind) -> None:
    file = await processed(bench, kind)
    called, events = list(bench.stages.calls), list[StageEvent | TranscriptPart]()
    found = await chat(bench.stages, attached(file), events=events)
    assert bench.stages.calls == called
    assert [one.cached for one in events if isinstance(one, StageEvent)] == [False, True]
    assert (found.visual is not None) == (kind in (MediaKind.IMAGE, MediaKind.VIDEO))
    if found.visual is not None:
        await found.visual


@pytest.mark.parametrize("kind", MediaKind)
async def test_nor_does_one_in_another_process(bench: Bench, contents: Contents, kind: MediaKind) -> None:
    """All of it lies beside the file once that is processed."""
    file = await processed(bench, kind)
    here = await chat(bench.stages, attached(file))
    bench.stages.once = contents.once()
    called = list(bench.stages.calls)
    there = await chat(bench.stages, attached(file))
    assert bench.stages.calls == called
    assert there.part.lines == here.part.lines
    assert there.affinity == here.affinity


async def test_nothing_of_it_is_known_to_another_tenant(bench: Bench) -> None:
    file = await processed(bench, MediaKind.IMAGE)
    before = bench.stages.calls.count("encode_image")
    await chat(bench.stages, attached(file), tenant="bob")
    assert bench.stages.calls.count("encode_image") == before + 1


async def test_a_video_that_is_sampled_in_another_way_is_encoded(bench: Bench) -> None:
    file = await processed(bench, MediaKind.VIDEO)
    before = bench.stages.calls.count("watch")
    await chat(bench.stages, attached(file, FrameSampling.KEYFRAMES))
    assert bench.stages.calls.count("watch") == before + 1


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        (MediaKind.IMAGE, ["encode_image", "read", "see"]),
        (MediaKind.AUDIO, ["transcribe"]),
        # The frames of a search are not those of a chat.
        (MediaKind.VIDEO, ["see", "watch", "watch"]),
        (MediaKind.DOCUMENT, ["read_document"]),
    ],
)
async def test_what_a_chat_needs_too_is_made_once(bench: Bench, kind: MediaKind, calls: list[str]) -> None:
    await processed(bench, kind)
    encoders = {"encode_image", "read", "see", "transcribe", "watch", "read_document"}
    assert sorted(call for call in bench.stages.calls if call in encoders) == calls


async def test_the_copy_of_a_file_has_what_its_twin_has(bench: Bench) -> None:
    file = await processed(bench, MediaKind.IMAGE)
    copy = bench.shelf.put(replace(file, id=f"file-{2:032x}", status=FileStatus.UPLOADED, attempts=0))
    before = bench.stages.calls.count("encode_image")
    assert await bench.ingest().turn() is Outcome.COPIED
    called = list(bench.stages.calls)
    await chat(bench.stages, attached(copy))
    assert bench.stages.calls == called
    assert called.count("encode_image") == before


async def test_a_file_that_only_a_chat_cannot_use_is_processed(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, MediaKind.VIDEO))

    def hold(source: MediaSource) -> Media:
        if source.frame_sampling is FrameSampling.UNIFORM:
            raise InvalidMedia("No frames can be sampled in this way.")
        return HELD[MediaKind.VIDEO]

    bench.stages.holds(file, hold)
    assert await bench.ingest().turn() is Outcome.PROCESSED
    assert bench.shelf.only().status is FileStatus.PROCESSED


@pytest.mark.parametrize("error", [ConfigError("It cannot see."), RuntimeError("a bug")])
async def test_a_file_that_the_tower_fails_on_can_be_found_all_the_same(
    bench: Bench, error: Exception
) -> None:
    bench.stages.failures["see"] = [error]
    await processed(bench, MediaKind.IMAGE)
    assert bench.shelf.only().status is FileStatus.PROCESSED
    assert bench.shelf.only().segments == 1


async def test_a_stage_that_is_gone_for_a_moment_is_tried_again(bench: Bench) -> None:
    file = bench.shelf.put(a_file(1, MediaKind.IMAGE))
    bench.stages.holds(file, HELD[MediaKind.IMAGE])
    bench.stages.failures["see"] = [StageUnavailable("It is restarting.", retry_after_s=1)]
    while bench.shelf.only().status is not FileStatus.PROCESSED:
        await bench.ingest().turn()
    called = list(bench.stages.calls)
    await chat(bench.stages, attached(file))
    assert bench.stages.calls == called
    assert called.count("encode_image") == 1
