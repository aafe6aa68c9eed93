"""Numbers on a command line."""

from __future__ import annotations

import typer


def parse_counts(text: str) -> tuple[int, ...]:
    """Positive numbers between commas. Raises typer.BadParameter."""
    numbers = text.split(",")
    if not all(number.strip().isdecimal() and int(number) > 0 for number in numbers):
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 1,16", param_hint="--streams")
    return tuple(int(number) for number in numbers)
