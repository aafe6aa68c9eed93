"""Which cores an engine on a CPU runs on."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from multimodal.config import GeneratorArgs
from multimodal.generation.cores import engine_cores

CORES = st.sets(st.integers(0, 40), min_size=1)


def spans(cores: set[int]) -> str:
    """Neighbours written as "3-5", the others by themselves."""
    starts = sorted(core for core in cores if core - 1 not in cores)
    ends = sorted(core for core in cores if core + 1 not in cores)
    return ",".join(
        str(first) if first == last else f"{first}-{last}" for first, last in zip(starts, ends, strict=True)
    )


@given(wanted=CORES, usable=CORES)
def test_those_that_are_wanted_and_there(wanted: set[int], usable: set[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _process: usable)
        assert engine_cores(None) == sorted(usable)
        if wanted & usable:
            assert engine_cores(spans(wanted)) == sorted(wanted & usable)
        else:
            with pytest.raises(ValueError, match=r"generator\.cores"):
                engine_cores(spans(wanted))


@pytest.mark.parametrize("written", ["", "0-", "-1", "0,", "0 1", "a", "0-1|2-3", "auto", "nobind"])
def test_anything_else_is_refused_at_start(written: str) -> None:
    with pytest.raises(ValidationError, match="cores"):
        GeneratorArgs(cores=written)
