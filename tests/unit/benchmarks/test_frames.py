"""The fewest frames that a clip's keyframes allow, and which frame is which."""

from __future__ import annotations

import _ctypes
import importlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.frames import (
    EVERYTHING,
    FEW_DECODED,
    OURS,
    Packet,
    decoded_finding,
    facts_of,
    fewest,
    same_as,
    written_bytes,
)
from benchmarks.in_process import Costs, Measured
from benchmarks.sent_packets import entries_of, sent_packets
from multimodal.types import Video

IN_ORDER = [Packet(pts, pts % 10 == 0) for pts in range(30)]
"""Three groups of ten, shown in the order in which they are decoded."""

REORDERED = [Packet(0, True), Packet(3, False), Packet(1, False), Packet(2, False), Packet(4, True)]
"""With two frames that are shown before one that they refer to."""

OPEN_GROUP = [Packet(0, True), Packet(1, False), Packet(4, True), Packet(2, False), Packet(3, False)]
"""Frames 2 and 3 are decoded after the second keyframe, but shown before it, and refer to both groups."""


@pytest.mark.parametrize(
    ("indices", "least"),
    [([], 0), ([0], 1), ([9], 10), ([10], 1), ([12, 15], 6), ([3, 25], 10), (list(range(30)), 30)],
)
def test_a_frame_costs_all_since_its_keyframe_and_what_is_shared_counts_once(
    indices: list[int], least: int
) -> None:
    assert fewest(IN_ORDER, indices) == least


@pytest.mark.parametrize(("index", "least"), [(0, 1), (1, 3), (2, 4), (3, 2), (4, 1)])
def test_frames_are_decoded_in_another_order_than_they_are_shown(index: int, least: int) -> None:
    assert fewest(REORDERED, [index]) == least


@pytest.mark.parametrize(("index", "least"), [(1, 2), (2, 4), (3, 5), (4, 1)])
def test_a_frame_before_its_keyframe_needs_the_group_before(index: int, least: int) -> None:
    assert fewest(OPEN_GROUP, [index]) == least


@given(st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)))
def test_more_frames_never_cost_less(some: set[int], more: set[int]) -> None:
    least = fewest(IN_ORDER, sorted(some))
    assert len(some) <= least <= fewest(IN_ORDER, sorted(some | more)) <= 30


def test_the_target_is_a_tenth_more_than_the_fewest() -> None:
    assert decoded_finding({"decord": 108, "PyAV": 2}, 100).met
    assert decoded_finding({"decord": 108, "PyAV": 3}, 100).met is False
    assert decoded_finding({"decord": 108}, 100).target is FEW_DECODED


def test_decoded_frames_are_yuv_and_returned_ones_rgb() -> None:
    frames = np.zeros((2, 4, 6, 3), np.uint8)
    video = Video(
        sha256="", frames=frames, times_s=(0, 1), duration_s=2, width=12, height=8, format="mp4", audio=None
    )
    assert written_bytes(video, 10) == 10 * (12 * 8 + 2 * 6 * 4) + 2 * 4 * 6 * 3


def test_limits_are_decoding_what_is_needed_and_memory() -> None:
    costs = {OURS: Costs([30.0] * 3, [50.0] * 3), EVERYTHING: Costs([100.0] * 3, [100.0] * 3)}
    facts = facts_of(Measured(costs=costs, others_cores=0.0), 0.25, written=10**8, bytes_per_s=20e9)
    assert facts["CPU time over decoding just those"] == pytest.approx(1.2)
    assert facts["decoded frames, of memory bandwidth"] == pytest.approx(0.1)
    assert facts["memory bandwidth, GB/s"] == 20.0


def test_the_nearest_reference_is_found() -> None:
    levels = np.array([10, 20, 30], np.uint8).reshape(1, 3, 1, 1, 1) * np.ones((2, 1, 4, 5, 3), np.uint8)
    frames = np.stack([np.full((4, 5, 3), level, np.uint8) for level in (21, 255)])
    assert same_as(frames, levels) == ([1, 2], [1.0, 225.0])


def test_frames_without_their_references_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        same_as(np.zeros((2, 1, 1, 3), np.uint8), np.zeros((1, 3, 1, 1, 3), np.uint8))


def test_a_library_has_entries_for_what_it_calls_and_no_others() -> None:
    elf = Path(_ctypes.__file__).read_bytes() if hasattr(_ctypes, "__file__") else b""
    if not elf:
        pytest.skip("this Python has ctypes built in")
    assert len(entries_of(elf, "dlopen")) == 1
    assert entries_of(elf, "avcodec_send_packet") == []


def test_what_is_no_library_has_no_entries() -> None:
    with pytest.raises((StopIteration, struct.error)):
        entries_of(b"\x7fELF" + bytes(100), "dlopen")


def test_packets_of_a_library_that_is_not_loaded_cannot_be_counted(tmp_path: Path) -> None:
    library = Path(str(importlib.import_module("av.codec.context").__file__))
    copy = tmp_path / "copy.so"
    copy.write_bytes(library.read_bytes())
    with pytest.raises(RuntimeError, match="not loaded"), sent_packets(copy):
        pass
