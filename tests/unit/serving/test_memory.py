from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from multimodal.serving import memory


def _group(folder: Path, limit: str, used: int, inactive: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\nactive_file 7\n")
    return folder


def test_a_control_group_leaves_its_limit_minus_its_use(tmp_path: Path) -> None:
    group = _group(tmp_path / "ours", "1000", used=400)
    assert memory._limits(group, root=tmp_path) == [600]


def test_pages_of_files_that_can_be_dropped_are_free(tmp_path: Path) -> None:
    group = _group(tmp_path / "ours", "1000", used=400, inactive=300)
    assert memory._limits(group, root=tmp_path) == [900]


def test_every_group_above_counts(tmp_path: Path) -> None:
    _group(tmp_path / "outer", "500", used=450)
    group = _group(tmp_path / "outer" / "inner", "max", used=10)
    assert memory._limits(group, root=tmp_path) == [50]


def test_a_group_without_limits_has_none(tmp_path: Path) -> None:
    assert memory._limits(tmp_path / "nothing", root=tmp_path) == []


def test_a_group_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    assert memory._limits(_group(tmp_path, "100", used=150), root=tmp_path) == [0]


def test_finds_its_own_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("1:name=systemd:/x\n0::/user.slice/mine\n")
    assert memory._own_cgroup(tmp_path / "cgroup", tmp_path) == tmp_path / "user.slice" / "mine"


def test_the_smaller_of_machine_and_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = _group(tmp_path, "100", used=30)
    monkeypatch.setattr(memory, "_own_cgroup", lambda: group)
    assert memory.available_bytes() == 70
    _group(tmp_path, str(2**60), used=30)
    assert 0 < memory.available_bytes() <= psutil.virtual_memory().total
