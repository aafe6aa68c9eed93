"""Keys stay where they are, loads stay even."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.ring import LoadBound, Ring

KEYS = [f"key-{i}" for i in range(4000)]
NODES = st.lists(st.text(max_size=12), min_size=1, max_size=12, unique=True)


def names(count: int) -> list[str]:
    return [f"replica-{i}" for i in range(count)]


@given(NODES, st.text())
def test_an_order_names_every_node_once(nodes: list[str], key: str) -> None:
    assert sorted(Ring(nodes).order(key)) == sorted(nodes)


@given(NODES, st.text())
def test_where_a_key_lies_depends_on_the_set_of_nodes_alone(nodes: list[str], key: str) -> None:
    assert Ring(reversed(nodes)).order(key) == Ring([*nodes, *nodes]).order(key) == Ring(nodes).order(key)


def test_all_processes_see_the_same_ring() -> None:
    script = "from multimodal.ring import Ring; print(*Ring(f'replica-{i}' for i in range(5)).order('a'))"
    for seed in ("1", "2"):
        seen = subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert seen.stdout.split() == Ring(names(5)).order("a")


def test_an_empty_ring_has_no_order() -> None:
    assert Ring(()).order("a") == []


@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_keys_are_spread_evenly(count: int) -> None:
    ring = Ring(names(count))
    shares = Counter(ring.order(key)[0] for key in KEYS)
    fair = len(KEYS) / count
    assert len(shares) == count
    assert max(shares.values()) < 1.4 * fair
    assert min(shares.values()) > 0.6 * fair


@given(NODES, st.text(max_size=12))
def test_a_node_that_joins_takes_keys_and_moves_none_of_the_others(nodes: list[str], new: str) -> None:
    nodes = [node for node in nodes if node != new]
    before, after = Ring(nodes), Ring([*nodes, new])
    for key in KEYS[:100]:
        order = after.order(key)
        assert [node for node in order if node != new] == before.order(key)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_about_one_in_n_keys_moves(count: int) -> None:
    before, after = Ring(names(count)), Ring(names(count + 1))
    moved = sum(before.order(key)[0] != after.order(key)[0] for key in KEYS)
    assert 0.5 / (count + 1) < moved / len(KEYS) < 1.4 / (count + 1)


def test_the_keys_of_a_node_that_leaves_go_to_all_others() -> None:
    before, after = Ring(names(5)), Ring(names(4))
    heirs = Counter(after.order(key)[0] for key in KEYS if before.order(key)[0] == "replica-4")
    assert set(heirs) == set(names(4))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 99)), max_size=300),
    st.integers(2, 9),
    st.floats(1.05, 3.0),
    st.integers(1, 20),
)
def test_no_node_is_ever_loaded_above_the_bound(
    steps: list[tuple[str, int | None]], count: int, load_factor: float, floor: int
) -> None:
    ring, bound = Ring(names(count)), LoadBound(load_factor, floor)
    loads = dict.fromkeys(names(count), 0)
    for key, done in steps:
        if done is not None:
            busy = f"replica-{done % count}"
            loads[busy] = max(0, loads[busy] - 1)
        (node, *_) = bound.admitted(ring.order(key), loads)  # there is always one
        loads[node] += 1
        at_most = max(floor, ceil(load_factor * sum(loads.values()) / count))
        assert loads[node] <= at_most


def test_one_key_stays_at_its_node_up_to_the_floor_then_moves_on_in_order() -> None:
    order = Ring(names(4)).order("hot")
    bound = LoadBound(load_factor=1.25, floor=6)
    loads = dict.fromkeys(order, 0)
    went = []
    for _ in range(14):
        node = bound.admitted(order, loads)[0]
        went.append(node)
        loads[node] += 1
    assert went == [order[0]] * 6 + [order[1]] * 6 + [order[2]] * 2


def test_the_bound_grows_with_the_load() -> None:
    order = ["a", "b"]
    bound = LoadBound(load_factor=1.5, floor=1)
    # (7 + 1) requests, 4 for each on average, 6 at most.
    assert bound.limit({"a": 5, "b": 2}) == 6
    assert bound.admitted(order, {"a": 5, "b": 2}) == ["a", "b"]
    assert bound.admitted(order, {"a": 6, "b": 1}) == ["b"]


@pytest.mark.parametrize(
    ("load_factor", "floor"), [(1.0, 8), (0.5, 8), (float("nan"), 8), (float("inf"), 8), (1.25, 0)]
)
def test_numbers_that_cannot_work_are_refused(load_factor: float, floor: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        LoadBound(load_factor, floor)
