"""Memory keeps what is most worth keeping, and never more than it may."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from prometheus_client import REGISTRY

from multimodal.cache.memory import ENTRY_BYTES, SPARE_PLACES, MemoryTier
from multimodal.types import ImageText

KIB = 1024


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def value() -> ImageText:
    """Told from others by identity."""
    return ImageText(lines=())


def put(tier: MemoryTier, digest: str, size_bytes: int = KIB, cost_s: float = 1.0) -> ImageText:
    """Kept for an hour."""
    made = value()
    tier.put(digest, made, size_bytes, cost_s=cost_s, ttl_s=3600.0)
    return made


def tier_for(entries: int, size_bytes: int = KIB) -> MemoryTier:
    """One that has room for so many of this size."""
    return MemoryTier(entries * (size_bytes + ENTRY_BYTES), Clock())


def kept(tier: MemoryTier, *digests: str) -> list[str]:
    """Those of them that are there."""
    return [digest for digest in digests if tier.get(digest) is not None]


def metric(name: str) -> float:
    labels = {} if name.endswith("_total") else {"tier": "memory"}
    return REGISTRY.get_sample_value(f"multimodal_cache_{name}", labels) or 0.0


def test_what_was_put_last_is_got() -> None:
    tier = tier_for(4)
    put(tier, "a")
    last = put(tier, "a", 2 * KIB)

    assert tier.get("a") is last
    assert tier.get("b") is None
    assert (len(tier), tier.size_bytes) == (1, 2 * KIB + ENTRY_BYTES)


def test_nothing_is_kept_without_room() -> None:
    tier = MemoryTier(0)
    tier.put("a", value(), 0, cost_s=1.0, ttl_s=1.0)

    assert tier.get("a") is None
    assert (len(tier), tier.size_bytes) == (0, 0)


def test_a_value_that_is_too_large_takes_the_place_of_nothing_but_its_own() -> None:
    tier = tier_for(4)
    put(tier, "a")
    put(tier, "b")
    put(tier, "a", 100 * KIB)  # the one before is not what was put last

    assert kept(tier, "a", "b") == ["b"]


def test_a_value_may_fill_it_to_the_byte() -> None:
    put(exact := MemoryTier(KIB + ENTRY_BYTES), "a")
    put(short := MemoryTier(KIB + ENTRY_BYTES - 1), "a")

    assert (len(exact), len(short)) == (1, 0)


def test_an_expensive_small_value_outlives_cheap_large_ones() -> None:
    tier = tier_for(4, 100 * KIB)
    put(tier, "dear", KIB, cost_s=10.0)
    for number in range(100):
        put(tier, f"cheap{number}", 100 * KIB, cost_s=0.01)

    assert kept(tier, "dear") == ["dear"]


def test_of_equal_values_the_oldest_goes_first() -> None:
    tier = tier_for(3)
    for digest in "abcd":
        put(tier, digest)

    assert kept(tier, *"abcd") == ["b", "c", "d"]


def test_what_was_replaced_is_young_again() -> None:
    tier = tier_for(3)
    for digest in "abacd":
        put(tier, digest)

    assert kept(tier, *"abcd") == ["a", "c", "d"]


def test_what_is_used_stays() -> None:
    tier = tier_for(3)
    for digest in "abc":
        put(tier, digest)
    tier.get("a")
    put(tier, "d")

    assert kept(tier, *"abcd") == ["a", "c", "d"]


def test_what_cost_nothing_and_is_used_stays_too() -> None:
    tier = tier_for(3)
    for digest in "abc":
        put(tier, digest, cost_s=0.0)
    tier.get("a")
    put(tier, "d", cost_s=0.0)

    assert kept(tier, *"abcd") == ["a", "c", "d"]


def test_what_was_used_long_ago_gives_way() -> None:
    tier = tier_for(2)
    put(tier, "old", cost_s=5.0)
    for _ in range(10):
        tier.get("old")
    for number in range(200):
        put(tier, f"new{number}")
        tier.get(f"new{number}")

    assert kept(tier, "old") == []


def test_what_has_expired_is_a_miss_and_is_removed() -> None:
    clock = Clock()
    tier = MemoryTier(10 * KIB, clock)
    tier.put("a", value(), KIB, cost_s=1.0, ttl_s=10.0)
    clock.now_s += 9.99
    assert kept(tier, "a") == ["a"]

    clock.now_s += 0.01  # having been used does not make it last longer

    assert kept(tier, "a") == []
    assert (len(tier), tier.size_bytes) == (0, 0)


def test_tiny_values_are_bounded_in_number() -> None:
    tier = MemoryTier(10 * ENTRY_BYTES)
    for number in range(1000):
        put(tier, str(number), 0)

    assert len(tier) == 10


def test_replaced_and_expired_values_leave_no_garbage() -> None:
    clock = Clock()
    tier = MemoryTier(100 * KIB, clock)
    for number in range(5000):
        put(tier, str(number % 3))
        tier.put(f"brief{number}", value(), KIB, cost_s=1.0, ttl_s=1.0)
        clock.now_s += 2.0
        tier.get(f"brief{number}")

    assert len(tier) == 3
    assert len(tier._heap) <= 2 * 3 + SPARE_PLACES + 1


names = st.sampled_from("abcdefghijkl")
sizes = st.sampled_from([0, KIB, 3 * KIB]) | st.integers(0, 5000)
costs = st.sampled_from([0.0, 1.0]) | st.floats(0, 1e4)


@given(items=st.lists(st.tuples(names, sizes, costs, st.booleans()), min_size=1, max_size=100))
def test_it_evicts_as_the_formula_says(items: list[tuple[str, int, float, bool]]) -> None:
    limit = 12_000
    tier, model = MemoryTier(limit, Clock()), Formula(limit)
    for digest, size_bytes, cost_s, again in items:
        if digest in model.entries and not again:
            assert tier.get(digest) is not None
            model.use(digest)
        else:
            put(tier, digest, size_bytes, cost_s)
            model.put(digest, size_bytes + ENTRY_BYTES, max(cost_s, 0.001))
        assert set(tier._entries) == set(model.entries)


@dataclass
class Priced:
    priority: float
    order: int
    size_bytes: int
    cost_s: float
    uses: int = 1


class Formula:
    """GreedyDual-Size-Frequency as the paper has it, looking through all entries for the smallest."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.entries: dict[str, Priced] = {}
        self.inflation = 0.0
        self.order = 0

    def use(self, digest: str) -> None:
        entry = self.entries[digest]
        entry.uses += 1
        entry.priority = self.inflation + entry.uses * (entry.cost_s / entry.size_bytes)

    def put(self, digest: str, size_bytes: int, cost_s: float) -> None:
        self.entries.pop(digest, None)
        while sum(one.size_bytes for one in self.entries.values()) + size_bytes > self.limit_bytes:
            first = min(
                self.entries, key=lambda name: (self.entries[name].priority, self.entries[name].order)
            )
            self.inflation = self.entries.pop(first).priority
        self.order += 1
        priority = self.inflation + cost_s / size_bytes
        self.entries[digest] = Priced(priority, self.order, size_bytes, cost_s)


class TierMachine(RuleBasedStateMachine):
    """Whatever happens: it has what was put last or nothing, nothing stale, and never too much."""

    LIMIT_BYTES = 8 * KIB
    digests = st.sampled_from("abcdefgh")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.tier = MemoryTier(self.LIMIT_BYTES, self.clock)
        self.last: dict[str, tuple[ImageText, float]] = {}
        self.bytes_before = metric("bytes")
        self.entries_before = metric("entries")

    @rule(
        digest=digests, size_bytes=st.integers(0, 9 * KIB), cost_s=st.floats(0, 100), ttl_s=st.floats(0.5, 50)
    )
    def put(self, digest: str, size_bytes: int, cost_s: float, ttl_s: float) -> None:
        made = value()
        self.tier.put(digest, made, size_bytes, cost_s=cost_s, ttl_s=ttl_s)
        self.last[digest] = (made, self.clock.now_s + ttl_s)
        fits = size_bytes + ENTRY_BYTES <= self.LIMIT_BYTES
        assert (self.tier.get(digest) is made) == fits

    @rule(digest=digests)
    def get(self, digest: str) -> None:
        found = self.tier.get(digest)
        if found is not None:
            made, expires_s = self.last[digest]
            assert found is made
            assert self.clock.now_s < expires_s

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @invariant()
    def is_bounded(self) -> None:
        entries = self.tier._entries
        assert self.tier.size_bytes == sum(one.size_bytes for one in entries.values()) <= self.LIMIT_BYTES
        assert len(self.tier) == len(entries) <= self.LIMIT_BYTES // ENTRY_BYTES
        assert len(self.tier._heap) <= 2 * (self.LIMIT_BYTES // ENTRY_BYTES) + SPARE_PLACES

    @invariant()
    def is_counted(self) -> None:
        assert metric("bytes") - self.bytes_before == self.tier.size_bytes
        assert metric("entries") - self.entries_before == len(self.tier)


TestTier = TierMachine.TestCase


def test_evictions_are_counted() -> None:
    before = metric("evictions_total")
    tier = tier_for(2)
    for digest in "abcb":  # replacing is no eviction
        put(tier, digest)

    assert metric("evictions_total") - before == 1
