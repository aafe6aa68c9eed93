from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOCKS = {"cpu": "requirements.lock", "gpu": "requirements-gpu.lock"}
ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def _pinned(extra: str) -> dict[str, str]:
    text = (ROOT / LOCKS[extra]).read_text()
    entries = ENTRY.findall(text)
    assert len(entries) == len([line for line in text.splitlines() if line[:1] not in ("#", " ", "")])
    return {name: version for name, version, _ in entries}


@pytest.mark.parametrize("extra", LOCKS)
def test_pins_everything_that_the_project_names(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = {
        re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower().replace("_", "-")
        for requirement in (*project["dependencies"], *extras[extra], *extras["dev"])
    }
    pinned_elsewhere = {"torch"} if extra == "cpu" else set()
    assert named - pinned_elsewhere <= _pinned(extra).keys()


def test_the_cpu_lock_leaves_out_what_would_be_a_cuda_build() -> None:
    assert not {"torch", "torchaudio", "torchcodec"} & _pinned("cpu").keys()


def test_the_cpu_lock_names_a_cpu_build_of_torch() -> None:
    assert re.search(r"^# torch==[\d.]+\+cpu$", (ROOT / LOCKS["cpu"]).read_text(), re.MULTILINE)


def test_the_gpu_lock_has_no_cpu_build() -> None:
    pinned = _pinned("gpu")
    assert "torch" in pinned
    assert not [name for name, version in pinned.items() if version.endswith("+cpu")]


@pytest.mark.parametrize("lock", LOCKS.values())
def test_says_nothing_of_the_machine_that_made_it(lock: str) -> None:
    assert not re.search(r"://|@ |^-", (ROOT / lock).read_text(), re.MULTILINE)
