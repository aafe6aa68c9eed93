"""The cache of features: which tier is asked when, what is written where, and that no tier can do harm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from prometheus_client import REGISTRY

from multimodal.cache.codec import Codec
from multimodal.cache.counts import Tier
from multimodal.cache.features import LARGE_BYTES, Beside, FeatureCache, Origin, Outcome, RemoteTier
from multimodal.cache.memory import MemoryTier
from multimodal.config import CacheArgs
from multimodal.errors import InvalidMedia, StageUnavailable
from multimodal.identity import Feature, FeatureKey
from multimodal.types import (
    GeneratorEmbedding,
    ImageText,
    MediaKind,
    RequestContext,
    TextLine,
)

CODEC = Codec(b"a secret of these tests")


def key(name: str = "a", modality: MediaKind = MediaKind.IMAGE) -> FeatureKey:
    return FeatureKey(feature=Feature.OCR, modality=modality, digest=name, affinity=name)


def context() -> RequestContext:
    return RequestContext(request_id="r", tenant="t", deadline_s=time.time() + 60)


def text(words: str = "TOTAL 42 EUR") -> ImageText:
    return ImageText(lines=(TextLine(text=words, confidence=1.0, box=(0.0, 0.0, 1.0, 1.0)),))


@dataclass
class Fake:
    """A tier that says in `asked` when it is asked. `error` is raised instead; `gate` holds writes back."""

    name: str
    asked: list[str]
    kept: dict[str, bytes] = field(default_factory=dict)
    ttls_s: list[float] = field(default_factory=list)
    error: Exception | None = None
    gate: asyncio.Event | None = None

    def _read(self, name: str) -> bytes | None:
        self.asked.append(f"read {self.name}")
        if self.error is not None:
            raise self.error
        return self.kept.get(name)

    async def _write(self, name: str, data: bytes) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.asked.append(f"write {self.name}")
        if self.error is not None:
            raise self.error
        self.kept[name] = data


class FakeRemote(Fake):
    async def get(self, key: FeatureKey) -> bytes | None:
        return self._read(key.digest)

    async def put(self, key: FeatureKey, data: bytes, ttl_s: float) -> None:
        self.ttls_s.append(ttl_s)
        await self._write(key.digest, data)


class FakeBeside(Fake):
    async def read(self, name: str) -> bytes | None:
        return self._read(name)

    async def write(self, name: str, data: bytes) -> None:
        await self._write(name, data)


class Bench:
    """A cache with all tiers."""

    def __init__(self, *, keeps_beside: bool = True, has_remote: bool = True, **settings: float) -> None:
        self.args = CacheArgs.model_validate(settings)
        self.asked: list[str] = []
        self.remote = FakeRemote("remote", self.asked)
        self.beside = FakeBeside("beside", self.asked)
        self.memory = MemoryTier(self.args.memory_bytes)
        remote: RemoteTier | None = self.remote if has_remote else None
        self.cache = FeatureCache(self.args, CODEC, self.memory, remote, keeps_beside=keeps_beside)

    async def get(
        self,
        value: ImageText | Exception | None = None,
        *,
        of: FeatureKey | None = None,
        beside: bool = True,
    ) -> Outcome[ImageText]:
        async def make() -> ImageText:
            self.asked.append("make")
            if isinstance(value, Exception):
                raise value
            return value or text()

        where: Beside | None = self.beside if beside else None
        return await self.cache.get(context(), of or key(), ImageText, make, where)

    def forget(self) -> None:
        """As another process, that has nothing in memory."""
        self.memory = MemoryTier(self.args.memory_bytes)
        self.cache = FeatureCache(self.args, CODEC, self.memory, self.remote, keeps_beside=True)
        self.asked.clear()


def counted(tier: Tier, result: str) -> float:
    labels = {"feature": "ocr", "modality": "image", "tier": tier, "result": result}
    return REGISTRY.get_sample_value("multimodal_cache_requests_total", labels) or 0.0


# --- which tier is asked -----------------------------------------------------------------------------


async def test_what_nobody_knows_is_made_and_kept_everywhere() -> None:
    bench = Bench()
    assert await bench.get() == Outcome(text(), Origin.MADE)
    await bench.cache.settled()
    assert bench.asked == ["read remote", "read beside", "make", "write remote", "write beside"]
    assert bench.remote.kept == bench.beside.kept == {"a": CODEC.encode(key(), text())}


async def test_memory_is_asked_first_and_alone() -> None:
    bench = Bench(keeps_beside=False)
    await bench.get()
    await bench.cache.settled()
    bench.asked.clear()
    assert await bench.get(text("other")) == Outcome(text(), Origin.MEMORY)
    assert bench.asked == []
    assert bench.cache.recall(key(), ImageText) == text()


async def test_then_the_remote_tier_which_fills_memory_and_nothing_else() -> None:
    bench = Bench(keeps_beside=False)
    bench.remote.kept["a"] = CODEC.encode(key(), text())
    assert await bench.get() == Outcome(text(), Origin.REDIS)
    await bench.cache.settled()
    assert bench.asked == ["read remote"]
    assert (await bench.get()).origin is Origin.MEMORY


async def test_then_what_is_kept_beside_the_file() -> None:
    bench = Bench()
    bench.beside.kept["a"] = CODEC.encode(key(), text())
    assert await bench.get() == Outcome(text(), Origin.LIBRARY)
    await bench.cache.settled()
    assert bench.asked == ["read remote", "read beside"]
    assert (await bench.get()).origin is Origin.MEMORY


async def test_tiers_that_there_are_not_are_left_out() -> None:
    bench = Bench(has_remote=False)
    assert (await bench.get(beside=False)).origin is Origin.MADE
    await bench.cache.settled()
    assert bench.asked == ["make"]


async def test_without_memory_the_others_are_asked_each_time() -> None:
    bench = Bench(memory_bytes=0)
    await bench.get()
    await bench.cache.settled()
    assert (await bench.get()).origin is Origin.REDIS
    assert bench.cache.recall(key(), ImageText) is None


async def test_what_is_in_memory_under_the_key_of_another_type_is_not_given_out() -> None:
    bench = Bench()
    await bench.get()
    assert bench.cache.recall(key(), GeneratorEmbedding) is None


async def test_hits_and_misses_are_counted_by_tier() -> None:
    bench = Bench()
    tiers = [(Tier.MEMORY, "miss"), (Tier.REDIS, "miss"), (Tier.LIBRARY, "miss"), (Tier.MEMORY, "hit")]
    before = [counted(*one) for one in tiers]
    await bench.get()
    await bench.get()
    assert [counted(*one) - one_before for one, one_before in zip(tiers, before, strict=True)] == [1, 1, 1, 1]


# --- what is written -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", ["memory", "remote"])
async def test_what_is_known_from_elsewhere_is_kept_beside_the_file_too(tier: str) -> None:
    """The tenant sent it inline before, or the file with these bytes that it was made of is gone."""
    bench = Bench()
    if tier == "memory":
        await bench.get(beside=False)
    else:
        bench.remote.kept["a"] = CODEC.encode(key(), text())
    await bench.cache.settled()
    assert (await bench.get()).origin.value == {"memory": "memory", "remote": "redis"}[tier]
    await bench.cache.settled()
    assert bench.beside.kept == {"a": CODEC.encode(key(), text())}
    await bench.get()
    await bench.cache.settled()
    assert bench.asked.count("write beside") == 1


async def test_nothing_is_kept_beside_files_where_that_is_not_wanted() -> None:
    bench = Bench(keeps_beside=False)
    await bench.get()
    await bench.cache.settled()
    assert bench.beside.kept == {}
    assert set(bench.remote.kept) == {"a"}
    assert "read beside" in bench.asked


async def test_what_is_too_large_to_be_kept_beside_files_is_kept_elsewhere() -> None:
    bench = Bench(stored_bytes=10)
    await bench.get()
    await bench.cache.settled()
    assert bench.beside.kept == {}
    assert set(bench.remote.kept) == {"a"}


async def test_a_value_that_is_too_large_is_given_out_and_not_kept() -> None:
    bench = Bench(value_bytes=10)
    assert await bench.get() == Outcome(text(), Origin.MADE)
    await bench.cache.settled()
    assert bench.remote.kept == bench.beside.kept == {}
    assert len(bench.memory) == 0
    assert (await bench.get()).origin is Origin.MADE


async def test_text_that_is_no_unicode_is_given_out_and_not_kept() -> None:
    bench = Bench()
    broken = text("from a broken document: \ud800")
    assert await bench.get(broken) == Outcome(broken, Origin.MADE)
    await bench.cache.settled()
    assert bench.remote.kept == bench.beside.kept == {}


@pytest.mark.parametrize(
    ("modality", "setting"),
    [
        (MediaKind.IMAGE, "image_ttl_s"),
        (MediaKind.AUDIO, "audio_ttl_s"),
        (MediaKind.VIDEO, "video_ttl_s"),
        (MediaKind.DOCUMENT, "document_ttl_s"),
    ],
)
async def test_each_modality_is_kept_for_its_own_time(modality: MediaKind, setting: str) -> None:
    bench = Bench(**{"ttl_s_per_cost_s": 0, setting: 7.0})  # type: ignore[arg-type]
    await bench.get(of=key(modality=modality))
    await bench.cache.settled()
    assert bench.remote.ttls_s == [7.0]


async def test_what_was_dear_is_kept_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("multimodal.cache.features.time.perf_counter", lambda: now_s)
    bench = Bench(image_ttl_s=100, ttl_s_per_cost_s=10, max_ttl_s=125)
    for name, cost_s in (("cheap", 0.0), ("dear", 2.0), ("dearest", 1e6)):

        async def make(cost_s: float = cost_s) -> ImageText:
            nonlocal now_s
            now_s += cost_s
            return text()

        await bench.cache.get(context(), key(name), ImageText, make)
    await bench.cache.settled()
    assert bench.remote.ttls_s == [100.0, 120.0, 125.0]


async def test_nobody_waits_for_writes_but_those_who_say_so() -> None:
    bench = Bench()
    bench.remote.gate = asyncio.Event()
    assert (await bench.get()).origin is Origin.MADE
    settled = asyncio.ensure_future(bench.cache.settled())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not settled.done()
    assert "write remote" not in bench.asked
    bench.remote.gate.set()
    await settled
    assert set(bench.remote.kept) == {"a"}


async def test_nothing_to_settle() -> None:
    await Bench().cache.settled()


@pytest.mark.parametrize("size_bytes", [64, 2 * LARGE_BYTES])
async def test_what_is_kept_is_a_copy_on_bytes_of_its_own(size_bytes: int) -> None:
    """Nothing of Ray's object store stays pinned; large values are copied on a thread."""
    bench = Bench()
    rows = np.arange(size_bytes // 4, dtype=np.float32).reshape(1, -1)
    made = GeneratorEmbedding(rows=rows)

    async def make() -> GeneratorEmbedding:
        return made

    for origin in (Origin.MADE, Origin.MEMORY):
        found = await bench.cache.get(context(), key(), GeneratorEmbedding, make)
        assert found.origin is origin
        assert np.array_equal(found.value.rows, rows)
        assert not np.shares_memory(found.value.rows, rows)
        assert not found.value.rows.flags.writeable
    await bench.cache.settled()


# --- harm ----------------------------------------------------------------------------------------------


def _flipped(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"garbage",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        _flipped,
        lambda data: CODEC.encode(key("of another key"), text("forged")),
        lambda data: Codec(b"secret of another").encode(key(), text("forged")),
        lambda data: CODEC.encode(key(), GeneratorEmbedding(rows=np.zeros((1, 1), np.float32))),
    ],
)
async def test_garbage_is_a_miss_and_is_replaced(spoil: Callable[[bytes], bytes]) -> None:
    bench = Bench()
    good = CODEC.encode(key(), text())
    bench.remote.kept["a"] = bench.beside.kept["a"] = spoil(good)
    assert await bench.get() == Outcome(text(), Origin.MADE)
    await bench.cache.settled()
    assert bench.remote.kept["a"] == bench.beside.kept["a"] == good


async def test_garbage_in_one_tier_does_not_hide_what_the_next_has() -> None:
    bench = Bench()
    bench.remote.kept["a"] = b"garbage"
    bench.beside.kept["a"] = CODEC.encode(key(), text())
    assert (await bench.get()).origin is Origin.LIBRARY


async def test_storage_that_cannot_be_reached_is_a_miss_and_breaks_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.beside.error = StageUnavailable("The storage cannot be reached.", retry_after_s=1)
    assert await bench.get() == Outcome(text(), Origin.MADE)
    await bench.cache.settled()
    assert set(bench.remote.kept) == {"a"}
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_failures_are_not_kept() -> None:
    bench = Bench()
    with pytest.raises(InvalidMedia):
        await bench.get(InvalidMedia("damaged"))
    await bench.cache.settled()
    assert bench.remote.kept == bench.beside.kept == {}
    assert (await bench.get()).origin is Origin.MADE


# --- at the same time ------------------------------------------------------------------------------------


async def test_those_who_ask_at_the_same_time_share_what_one_finds() -> None:
    bench = Bench()
    found = await asyncio.gather(*(bench.get() for _ in range(8)))
    assert [one.origin for one in found] == [Origin.MADE] + [Origin.SHARED] * 7
    assert all(one.value == text() for one in found)
    await bench.cache.settled()
    assert [bench.asked.count(one) for one in ("read remote", "make", "write remote")] == [1, 1, 1]


async def test_a_value_of_the_remote_tier_is_fetched_once_for_all() -> None:
    bench = Bench(keeps_beside=False)
    bench.remote.kept["a"] = CODEC.encode(key(), text())
    found = await asyncio.gather(*(bench.get() for _ in range(4)))
    assert [one.origin for one in found] == [Origin.REDIS] + [Origin.SHARED] * 3
    assert bench.asked == ["read remote"]


async def test_other_keys_are_other_values() -> None:
    bench = Bench()
    one, other = await asyncio.gather(
        bench.get(text("one"), of=key("1")), bench.get(text("other"), of=key("2"))
    )
    assert (one.value, other.value) == (text("one"), text("other"))
    assert [one.origin, other.origin] == [Origin.MADE, Origin.MADE]


async def test_another_process_finds_what_was_kept() -> None:
    bench = Bench()
    await bench.get()
    await bench.cache.settled()
    bench.forget()
    assert (await bench.get()).origin is Origin.REDIS
    bench.remote.kept.clear()
    bench.forget()
    assert (await bench.get()).origin is Origin.LIBRARY
