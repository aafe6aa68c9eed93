"""`python -m benchmarks.encode_once SCENARIO`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer

from benchmarks.common import run
from benchmarks.encode_once import flood, hit_miss, second_turn, single_flight, zipf

SCENARIOS: Mapping[str, Callable[..., None]] = {
    "hit-miss": hit_miss.main,
    "single-flight": single_flight.main,
    "second-turn": second_turn.main,
    "flood": flood.main,
    "zipf": zipf.main,
}

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False, add_completion=False)
for name, scenario in SCENARIOS.items():
    app.command(name)(scenario)

if __name__ == "__main__":
    run(app)
