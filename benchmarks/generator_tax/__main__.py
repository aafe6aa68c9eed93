"""`python -m benchmarks.generator_tax`, and `... bench-serve`."""

from __future__ import annotations

import typer

from benchmarks.common import run
from benchmarks.generator_tax import bench_serve, tax

app = typer.Typer(help=__doc__, pretty_exceptions_enable=False, add_completion=False)
app.callback(invoke_without_command=True)(tax.main)
app.command("bench-serve")(bench_serve.main)

if __name__ == "__main__":
    run(app)
