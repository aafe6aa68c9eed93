"""Measured candidates on disk, so that a run that was ended goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from benchmarks.common import RESULTS
from benchmarks.engine_settings.candidates import Candidate
from benchmarks.engine_settings.engine import MAX_TOKENS
from benchmarks.engine_settings.measure import LOADS, Pair
from multimodal.config import GeneratorArgs

FOLDER = RESULTS / "engine-settings"

_JSON: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


class Outcome(BaseModel):
    """One candidate against the baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    what: dict[str, JsonValue]
    """Settings of both, as `described` has them."""
    boot_s: float
    """With the baseline stopped."""
    baseline_boot_s: float
    """With nothing else running, before the first candidate."""
    pairs: list[Pair]
    others_cores: float


def described(candidate: Candidate, baseline: GeneratorArgs) -> dict[str, JsonValue]:
    """What was compared, and how: an outcome of anything else is of no use."""
    return _JSON.validate_python(
        {
            "baseline": baseline.model_dump(mode="json"),
            "candidate": candidate.applied(baseline).model_dump(mode="json"),
            "chunked_prefill": candidate.chunked_prefill,
            "env": sorted(candidate.env),
            "loads": [asdict(one) for one in LOADS],
            "max_tokens": MAX_TOKENS,
        }
    )


def path_of(candidate: Candidate, pairs: int, folder: Path) -> Path:
    """Runs of another length have files of their own."""
    return folder / f"{candidate.slug}-{pairs}.json"


def save(outcome: Outcome, path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(outcome.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def load(candidate: Candidate, baseline: GeneratorArgs, pairs: int, folder: Path) -> Outcome | None:
    """None where it has not been measured with these settings, or the file is of another version."""
    try:
        outcome = Outcome.model_validate_json(path_of(candidate, pairs, folder).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return outcome if outcome.what == described(candidate, baseline) else None


def finished(
    candidates: Sequence[Candidate], baseline: GeneratorArgs, pairs: int, folder: Path = FOLDER
) -> list[Outcome]:
    """Of those that have been measured."""
    found = (load(one, baseline, pairs, folder) for one in candidates)
    return [outcome for outcome in found if outcome is not None]
