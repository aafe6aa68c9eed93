"""Python's word on imports, summed up by package."""

from __future__ import annotations

import pytest

from benchmarks import imports

REPORT = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |     numpy._core
import time:       300 |        400 |   numpy
a line of somebody else | with | bars
import time:      2000 |       2400 | multimodal
"""


def test_modules_count_for_their_package() -> None:
    assert imports.packages_ms(REPORT) == {"numpy": 0.4, "multimodal": 2.0}


def test_parts_add_up() -> None:
    parts = imports.parts({"numpy": 0.4, "multimodal": 2.0, "torch": 5.0}, ["torch", "numpy", "vllm"])
    assert parts == {"torch": 5.0, "numpy": 0.4, "vllm": 0.0, imports.OTHERS: pytest.approx(2.0)}


def test_what_python_says_is_understood() -> None:
    assert imports.packages_ms(imports.report("import json.decoder"))["json"] > 0


def test_a_missing_module_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        imports.report("import nowhere_at_all")
