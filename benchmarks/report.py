"""`python -m benchmarks.report`: the newest result of each benchmark, in Markdown with pictures."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import recorded
from benchmarks.common import RESULTS, run, setting
from benchmarks.compare import BUSY_CORES
from benchmarks.recorded import Document, Measured, RecordedCheck, RecordedFinding
from benchmarks.scenarios import SCENARIOS

FILE = "report.md"
GIB = 1024**3
SHORT_COMMIT = 10
QUICK_NOTE = "**quick: it shows that the benchmark runs, and is no measurement**"
VERDICTS = {True: "met", False: "**missed**", None: ""}


def write(failures: Mapping[str, str] | None = None, folder: Path = RESULTS) -> Path:
    """The report of what is in `folder`, into it. `failures`: scenarios that have just failed, and why."""
    documents, _ = recorded.read(folder)
    newest = in_order(recorded.newest(documents))
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw(newest, folder)
    path = folder / FILE
    path.write_text(text(newest, pictures, failures or {}, setting()), encoding="utf-8")
    return path


def in_order(newest: Mapping[str, Document]) -> dict[str, Document]:
    """As the suite runs them; others behind."""
    order = {one.name: number for number, one in enumerate(SCENARIOS)}
    names = sorted(newest, key=lambda name: (order.get(plain(name), len(order)), name))
    return {name: newest[name] for name in names}


def plain(name: str) -> str:
    """Benchmarks may write `graph_tax` where the suite has `graph-tax`."""
    return name.replace("_", "-")


def draw(newest: Mapping[str, Document], folder: Path) -> dict[str, list[Path]]:
    """The pictures of each benchmark."""
    from benchmarks import plots  # matplotlib: a second that `--help` and the suite's start need not take

    measured = {name: one.measured()[0] for name, one in newest.items()}
    looks = plots.looks(measured.values())
    return {name: plots.draw(name, one, looks, folder) for name, one in measured.items()}


def text(
    newest: Mapping[str, Document],
    pictures: Mapping[str, Sequence[Path]],
    failures: Mapping[str, str],
    here: Mapping[str, object],
) -> str:
    """All of it."""
    now = datetime.now(UTC)
    parts = [
        "# Benchmark report",
        f"Made {now:%Y-%m-%d %H:%M} UTC from the newest result of each benchmark, at {_code(here)}. "
        "A ratio is the first side's number over the second's, with its 95 % bootstrap interval over pairs "
        "of turns; a target is met by the ratio itself.",
        _targets(newest),
        _missing(newest, failures),
        *(_section(one, pictures.get(name, ()), here) for name, one in newest.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# --- the whole -----------------------------------------------------------------------------------


def _targets(newest: Mapping[str, Document]) -> str:
    """What had a target."""
    rows = []
    for name, document in newest.items():
        measured, _ = document.measured()
        origin = [f"{document.at:%Y-%m-%d}", _commit(document)]
        for one in measured.findings:
            if one.target is not None:
                number = [f"{one.name}: {one.sides}", str(one.ratio), one.target]
                rows.append([_link(name), *number, _verdict(one, document), *origin])
        for check in measured.checks:
            value = f"{check.value:.5g} {check.unit}".strip()
            rows.append([_link(name), check.name, value, check.target, _verdict(check, document), *origin])
    if not rows:
        return ""
    verdicts = [row[4] for row in rows]
    met, missed = (verdicts.count(VERDICTS[one]) for one in (True, False))
    headings = ("benchmark", "number", "ratio [95 %] or value", "target", "", "date", "commit")
    note = "+: with uncommitted changes. Quick results neither meet nor miss a target."
    return f"## Targets: {met} of {met + missed} met\n\n{table(headings, rows)}\n\n{note}"


def _missing(newest: Mapping[str, Document], failures: Mapping[str, str]) -> str:
    """What has no result, and why."""
    there = set(map(plain, newest))
    missing = [one.name for one in SCENARIOS if one.name not in there and one.name not in failures]
    lines = [f"- {name}: failed in the last run ({reason})" for name, reason in failures.items()]
    lines += [f"- Never measured here: {', '.join(missing)}"] if missing else []
    return "## Not measured\n\n" + "\n".join(lines) if lines else ""


# --- one benchmark -------------------------------------------------------------------------------


def _section(document: Document, pictures: Iterable[Path], here: Mapping[str, object]) -> str:
    """Where it comes from, its numbers, its pictures."""
    measured, unsound = document.measured()
    shown = [
        _findings(measured, document),
        _facts(measured, document),
        "" if measured.findings else _ratios(document),
        *(f"![{path.stem}]({path.name})" for path in pictures),
    ]
    parts = [
        f"## {document.benchmark}",
        _origin(document, here),
        QUICK_NOTE if document.quick else "",
        _remark(measured, unsound),
        *(shown if any(shown) else ["No numbers that this report can show: see its results file."]),
    ]
    return "\n\n".join(part for part in parts if part)


def _origin(document: Document, here: Mapping[str, object]) -> str:
    words = shlex.join(document.arguments)
    command = f"python -m {words}" if words else document.command
    changed = ", with uncommitted changes" if document.uncommitted_changes else ""
    other = "" if document.commit == here["commit"] else " (not that of this report)"
    versions = ", ".join(f"{name} {version}" for name, version in document.packages.items())
    machine = f"{document.cores} cores of {document.cpu or 'an unknown processor'}"
    return (
        f"- `{command}`\n"
        f"- {document.at:%Y-%m-%d %H:%M} UTC, commit {_short(document.commit)}{other}{changed}\n"
        f"- {machine}, {document.memory_bytes / GIB:.0f} GiB; Python {document.python}, {versions}"
    )


def _remark(measured: Measured, unsound: Sequence[str]) -> str:
    lines = []
    if (measured.others_cores or 0.0) > BUSY_CORES:
        lines.append(f"Other programs used up to {measured.others_cores:.2f} cores meanwhile: run it again.")
    if unsound:
        lines.append(f"Not shown, because its shape is not known: {', '.join(unsound)}.")
    return "\n".join(lines)


def _findings(measured: Measured, document: Document) -> str:
    rows = []
    for one in measured.findings:
        numbers = [f"{value:.4g} {one.unit}" for value in (one.first, one.second)]
        rows.append(
            [one.name, one.sides, str(one.ratio), one.target or "", _verdict(one, document), *numbers]
        )
    return table(("number", "sides", "ratio [95 %]", "target", "", "first", "second"), rows) if rows else ""


def _verdict(one: RecordedFinding | RecordedCheck, document: Document) -> str:
    """A quick result has none."""
    return "quick" if document.quick else VERDICTS[one.met]


def _facts(measured: Measured, document: Document) -> str:
    rows = [
        [one.name, f"{one.value:.5g} {one.unit}".strip(), one.target, _verdict(one, document)]
        for one in measured.checks
    ]
    rows += [
        [name, value if isinstance(value, str) else f"{value:.5g}", "", ""]
        for name, value in measured.facts.items()
    ]
    return table(("fact", "value", "target", ""), rows) if rows else ""


def _ratios(document: Document) -> str:
    """Of benchmarks that write no findings: whatever ratio is in their results."""
    rows = [[name, str(ratio)] for name, ratio in recorded.ratios(document.results)]
    return table(("ratio, by its place in the results", "[95 %]"), rows) if rows else ""


# --- Markdown ------------------------------------------------------------------------------------


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar in a cell is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(words: str) -> str:
    return re.sub(r"\s*\n\s*", " ", words).replace("|", "\\|")


def _link(name: str) -> str:
    return f"[{name}](#{name.lower().replace(' ', '-')})"


def _commit(document: Document) -> str:
    return _short(document.commit) + ("+" if document.uncommitted_changes else "")


def _short(commit: object) -> str:
    return str(commit or "unknown")[:SHORT_COMMIT]


def _code(here: Mapping[str, object]) -> str:
    changed = " with uncommitted changes" if here["uncommitted_changes"] else ""
    return f"commit {_short(here['commit'])}{changed}"


def main(
    folder: Annotated[Path, typer.Option(help="Where the results are, and the report will be.")] = RESULTS,
) -> None:
    """Write report.md and its pictures from the newest result of each benchmark; full ones come first."""
    typer.echo(f"Report: {write(folder=folder)}")


if __name__ == "__main__":
    run(main)
