"""`python -m benchmarks.fanout`."""

from __future__ import annotations

from benchmarks.common import run
from benchmarks.fanout import scenario

if __name__ == "__main__":
    run(scenario.main)
