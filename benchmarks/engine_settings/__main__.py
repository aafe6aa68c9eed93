"""`python -m benchmarks.engine_settings`: settings of vLLM on the CPU, each against the embedded profile's.

Ended in between, it goes on where it was: candidates that are finished are read from their files.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import run
from benchmarks.engine_settings.candidates import CONTROL, Candidate, candidates, chosen
from benchmarks.engine_settings.engine import Engine
from benchmarks.engine_settings.measure import LOADS, Comparison, Pair, boot_s
from benchmarks.engine_settings.outcome import findings, markdown
from benchmarks.engine_settings.store import FOLDER, Outcome, described, finished, load, path_of, save
from benchmarks.findings import MIN_PAIRS, console, publish
from benchmarks.generator_tax.stopping import end_in_order, stopped
from benchmarks.load import PromptSource
from multimodal import serve_config
from multimodal.config import GeneratorArgs, home
from multimodal.models.refs import resolve

QUICK_PAIRS = 2
QUICK = (CONTROL.name, "blocks of 64 tokens")


class Settings:
    """Measures candidates against one baseline, which stays booted."""

    def __init__(self, baseline: GeneratorArgs, pairs: int) -> None:
        self._args = baseline
        self._pairs = pairs
        self._model = resolve(baseline.model, home())
        # One for all candidates: the baseline must not find a prompt in its prefix cache.
        seed = secrets.randbits(32)
        self._prompts = {one.name: PromptSource(seed + at, one.words) for at, one in enumerate(LOADS)}

    def measure(self, wanted: Sequence[Candidate]) -> dict[str, str]:
        """Each is saved when it is finished. Why others could not be measured, by name."""
        failed: dict[str, str] = {}
        console.print("Starting the baseline")
        with self._engine(CONTROL, "baseline") as baseline:
            baseline_boot_s = boot_s(baseline)
            for candidate in wanted:
                try:
                    self._candidate(candidate, baseline, baseline_boot_s)
                except RuntimeError as error:
                    if not baseline.processes():
                        raise
                    console.print(f"{candidate.name}: {error}", style="red", soft_wrap=True)
                    # Without the path of its log.
                    failed[candidate.name] = str(error).partition(" Its output")[0]
        return failed

    def _candidate(self, candidate: Candidate, baseline: Engine, baseline_boot_s: float) -> None:
        with self._engine(candidate, candidate.slug) as engine:
            with stopped(baseline.processes()):
                candidate_boot_s = boot_s(engine)
            console.print(f"{candidate.name}: booted in {candidate_boot_s:.0f} s")
            comparison = Comparison(engine, baseline, self._prompts)
            pairs = comparison.run(self._pairs, _report)
        outcome = Outcome(
            name=candidate.name,
            what=described(candidate, self._args),
            boot_s=candidate_boot_s,
            baseline_boot_s=baseline_boot_s,
            pairs=pairs,
            others_cores=comparison.others_cores,
        )
        save(outcome, path_of(candidate, self._pairs, FOLDER))

    def _engine(self, candidate: Candidate, log: str) -> Engine:
        return Engine(self._model, self._args, candidate, FOLDER / f"{log}.log")


def _report(pair: Pair) -> None:
    speeds = (
        f"{one['candidate']['tokens_per_s']:.0f}/{one['baseline']['tokens_per_s']:.0f}"
        for one in pair.values()
    )
    console.print(f"  tokens/s: {', '.join(speeds)}", highlight=False)


def report(outcomes: Sequence[Outcome], failed: Mapping[str, str]) -> None:
    """Publish what is finished. Raises RuntimeError where nothing is."""
    if not outcomes:
        raise RuntimeError("No candidate could be measured.")
    table = markdown(outcomes)
    facts = {f"boot, {one.name}": f"{one.boot_s:.1f} s" for one in outcomes}
    facts["boot, the profile's"] = f"{outcomes[-1].baseline_boot_s:.1f} s"
    facts |= {f"not measured: {name}": why for name, why in failed.items()}
    details = {
        "facts": facts,
        "table": table.splitlines(),
        "outcomes": [one.model_dump(mode="json") for one in outcomes],
    }
    publish("engine-settings", findings(outcomes), details, max(one.others_cores for one in outcomes))
    print(table)


def main(
    config: Annotated[Path, typer.Option(help="The profile with the baseline.")] = Path("serve_config.yaml"),
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Turns of each side, for each candidate.")] = 7,
    only: Annotated[list[str] | None, typer.Option(help="Candidates by name; default: all.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure finished candidates, too.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Two candidates, two pairs: does it run?")] = False,
) -> None:
    """Compare engines that differ in one setting: tokens/s, time to the first token, CPU, boot."""
    args = serve_config.read(config).args
    if args is None:
        raise typer.BadParameter("it does not configure this graph", param_hint="--config")
    baseline, pairs = args.generator, QUICK_PAIRS if quick else pairs
    every = candidates(baseline)
    try:
        wanted = chosen(every, only or (QUICK if quick else ()))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from None
    end_in_order()
    missing = [one for one in wanted if again or load(one, baseline, pairs, FOLDER) is None]
    failed = Settings(baseline, pairs).measure(missing) if missing else {}
    report(finished(wanted if quick else every, baseline, pairs), failed)


if __name__ == "__main__":
    run(main)
