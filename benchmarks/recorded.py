"""Results files, read back: what the suite need not run again, and what the report shows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue, ValidationError

from benchmarks.common import RESULTS
from benchmarks.plot_data import Parts, Samples, Series, checked_parts, checked_samples, checked_series

QUICK = "--quick"


class _Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Interval(_Recorded):
    """A ratio."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class RecordedFinding(_Recorded):
    """What `findings.Finding` wrote."""

    name: str
    sides: str
    ratio: Interval
    first: float
    second: float
    unit: str
    target: str | None = None
    met: bool | None = None


class RecordedCheck(_Recorded):
    """What `findings.check` made."""

    name: str
    value: float
    unit: str
    target: str
    met: bool


class Measured(_Recorded):
    """What the report can show of `results`; scenarios add what they like."""

    findings: tuple[RecordedFinding, ...] = ()
    checks: tuple[RecordedCheck, ...] = ()
    facts: dict[str, float | str] = {}
    series: tuple[Annotated[Series, AfterValidator(checked_series)], ...] = ()
    samples: tuple[Annotated[Samples, AfterValidator(checked_samples)], ...] = ()
    parts: tuple[Annotated[Parts, AfterValidator(checked_parts)], ...] = ()
    others_cores: float | None = None


class Document(_Recorded):
    """One results file."""

    benchmark: str
    at: datetime
    command: str
    commit: str | None
    uncommitted_changes: bool
    changes: str | None = None
    """A digest of the uncommitted changes."""
    python: str
    packages: dict[str, str]
    cpu: str
    cores: int
    memory_bytes: int
    results: dict[str, JsonValue]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The module and what follows it on the command line; empty where no module was run."""
        words = shlex.split(self.command)
        return tuple(words[words.index("-m") + 1 :]) if "-m" in words else ()

    @property
    def quick(self) -> bool:
        """Whether it shows that the benchmark runs, and no more."""
        return QUICK in self.arguments

    def measured(self) -> tuple[Measured, list[str]]:
        """What can be shown, and which keys of `results` have another shape than the report knows."""
        sound: dict[str, JsonValue] = {}
        unsound = []
        for key in Measured.model_fields.keys() & self.results.keys():
            try:
                Measured.model_validate({key: self.results[key]})
                sound[key] = self.results[key]
            except ValidationError:
                unsound.append(key)
        return Measured.model_validate(sound), sorted(unsound)

    def is_of(self, setting: Mapping[str, object]) -> bool:
        """Whether it is of the same code as `common.setting()` describes: the commit, and changes to it."""
        if self.commit is None or self.commit != setting["commit"]:
            return False
        if self.uncommitted_changes or setting["uncommitted_changes"]:
            return self.changes is not None and self.changes == setting.get("changes")
        return True


def read(folder: Path = RESULTS) -> tuple[list[Document], list[Path]]:
    """All results, the oldest first; and JSON files that are none."""
    found, others = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Document.model_validate(json.loads(path.read_text(encoding="utf-8"))))
        except (ValidationError, ValueError):
            others.append(path)
    return sorted(found, key=lambda one: one.at), others


def newest(documents: Iterable[Document]) -> dict[str, Document]:
    """Of each benchmark, by name; quick results only where there is no other."""
    ordered = sorted(documents, key=lambda one: (not one.quick, one.at))
    return {one.benchmark: one for one in ordered}


def has_result(
    documents: Sequence[Document], arguments: Sequence[str], setting: Mapping[str, object]
) -> bool:
    """Whether this very command has been run on this very code."""
    return any(one.arguments == tuple(arguments) and one.is_of(setting) for one in documents)


def ratios(results: JsonValue, path: tuple[str, ...] = ()) -> list[tuple[str, Interval]]:
    """Every ratio anywhere in `results`, by where it stands: for benchmarks without findings."""
    if isinstance(results, dict):
        if results.keys() == Interval.model_fields.keys():
            return [(" / ".join(path), Interval.model_validate(results))]
        items: Iterable[tuple[str, JsonValue]] = results.items()
    elif isinstance(results, list):
        items = ((str(number), one) for number, one in enumerate(results))
    else:
        return []
    return [found for name, one in items for found in ratios(one, (*path, name))]
