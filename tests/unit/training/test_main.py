"""The commands that make a model folder out of a finished run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from multimodal.encoders.checkpoint import read_checkpoint, read_logit_scale
from multimodal.encoders.concepts import CONCEPTS_FILE, load_bank
from multimodal.errors import ConfigError
from multimodal.training import __main__ as commands
from multimodal.training import checkpoints, data, evaluate, export, texts
from multimodal.training.captions import with_article
from multimodal.training.compose import Composer
from multimodal.training.concepts import Concept, Icon
from multimodal.training.data import Corpus
from multimodal.training.objective import Objective
from multimodal.training.plan import Planner
from multimodal.training.report import THRESHOLD, Result
from multimodal.training.tower import TowerSpec
from multimodal.training.train import Recipe, Trainer
from tests.unit.training.conftest import fake_vectors

RECIPE = Recipe(tower=TowerSpec("test_resnet", 32), steps=2, batch=8, sizes=(), warm_up=1)
NOTED = [Result("confidence", THRESHOLD, 0.625)]


@pytest.fixture
def work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    planner: Planner,
    composer: Composer,
    objective: Objective,
    concepts: list[Concept],
    icons: list[Icon],
) -> Path:
    """The work folder of a run of two steps."""

    class FakeEvaluation:
        def __init__(self, *args: object) -> None:
            pass

        def run(self) -> Sequence[Result]:
            return NOTED

    Trainer(RECIPE, planner, composer, objective).run(2, tmp_path / "checkpoint.pt")
    monkeypatch.setattr(commands, "RECIPE", RECIPE)
    monkeypatch.setattr(commands, "_text_model", lambda: tmp_path)
    monkeypatch.setattr(data, "load_corpus", lambda work: Corpus(concepts, icons, {}))
    monkeypatch.setattr(texts, "encoder", lambda folder: fake_vectors)
    monkeypatch.setattr(evaluate, "Evaluation", FakeEvaluation)
    return tmp_path


def test_the_exported_scale_is_the_one_that_was_learned(work: Path) -> None:
    commands.export(work, work / "model", steps=2)
    saved = checkpoints.load(work / "checkpoint.pt")
    assert saved is not None
    learned = float(saved["scales"]["logs"][3].exp())
    assert read_logit_scale(read_checkpoint(work / "model")) == pytest.approx(learned, rel=1e-6)


def test_an_unfinished_run_is_not_exported(work: Path) -> None:
    with pytest.raises(ConfigError, match="Run `train` first"):
        commands.export(work, work / "model", steps=3)
    assert not (work / "model").exists()


def test_the_evaluation_leaves_the_bank_of_names_with_what_counts_as_known(work: Path) -> None:
    commands.export(work, work / "model", steps=2)
    commands.evaluate(work, work / "model")
    bank = load_bank(work / "model")
    for name in ("dog", "red circle"):
        (vector,) = fake_vectors([name])
        # Looked for as it was trained, told as one says it.
        assert [one.name for one in bank.recognise(vector, 100, 1)] == [with_article(name)]
        assert bank.recognise(vector * 0.63, 100, 1)
        assert not bank.recognise(vector * 0.62, 100, 1)


def test_checksums_cover_the_bank_and_the_card(work: Path) -> None:
    commands.export(work, work / "model", steps=2)
    commands.evaluate(work, work / "model")
    lines = (work / "model" / export.CHECKSUMS).read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert {CONCEPTS_FILE, export.CARD} <= set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((work / "model" / name).read_bytes()).hexdigest() == digest
