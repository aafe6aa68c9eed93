"""Threads give way to others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from multimodal.training.threads import Threads


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_one_thread_while_others_are_busy_and_two_when_they_are_not(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    stat = tmp_path / "stat"
    stat.write_text("cpu 0 0 0 0 0 0 0 0 0 0\n", encoding="ascii")
    try:
        threads = Threads(stat)
        stat.write_text("cpu 1000000 0 0 0 0 0 0 0 0 0\n", encoding="ascii")
        assert threads.adjust() == 1
        stat.write_text("cpu 1000000 0 0 9999 0 0 0 0 0 0\n", encoding="ascii")
        assert threads.adjust() == 2
    finally:
        torch.set_num_threads(before)
