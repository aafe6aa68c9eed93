"""`python -m multimodal.training`: make the embedded image tower, in steps or at once."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from multimodal import config
from multimodal.errors import ConfigError
from multimodal.training import checkpoints, data, fetch, report, texts
from multimodal.training.captions import with_article
from multimodal.training.sources import TEXT_MODEL
from multimodal.training.train import Recipe, Trainer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make the embedded image tower.")

Work = Annotated[
    Path | None, typer.Option(help="Where everything is kept. Default: `training` below MULTIMODAL_HOME.")
]
Output = Annotated[
    Path | None, typer.Option(help="Model folder to write. Default: `export` in the work folder.")
]
Steps = Annotated[
    int,
    typer.Option(min=1, help="Length of the run; more is better. 5000 take an hour of two idle cores."),
]
RECIPE = Recipe()


@app.command("fetch")
def fetch_packages(work: Work = None) -> None:
    """Download the pinned picture sets, labels and first weights, and check them."""
    fetch.fetch_all(_folder(work) / "packages")


@app.command("render")
def render_pictures(work: Work = None) -> None:
    """Render all pictures and encode all captions."""
    data.prepare(_folder(work), _text_model(), RECIPE.seed)


@app.command()
def train(work: Work = None, steps: Steps = RECIPE.steps) -> None:
    """Train, or go on from the last checkpoint."""
    from multimodal.training.objective import Objective
    from multimodal.training.threads import Threads

    folder, recipe = _folder(work), replace(RECIPE, steps=steps)
    corpus, examples, words, atlas = data.prepare(folder, _text_model(), recipe.seed)
    planner, composer = data.drawing(corpus, examples, atlas, recipe.seed, recipe.gentle_steps)
    first = fetch.trunk_weights(folder / "packages")
    trainer = Trainer(recipe, planner, composer, Objective(words), first)
    saved = checkpoints.load(_checkpoint(folder))
    if saved is not None:
        trainer.resume(saved)
    trainer.run(steps, _checkpoint(folder), Threads())


@app.command()
def export(work: Work = None, output: Output = None, steps: Steps = RECIPE.steps) -> None:
    """Write the trained tower as an open_clip model folder."""
    from multimodal.training import export as exporting
    from multimodal.training.objective import log_scale

    saved = checkpoints.load(_checkpoint(_folder(work)))
    if saved is None or saved["step"] < steps:
        raise ConfigError("Training has not finished. Run `train` first.")
    target = output or _folder(work) / "export"
    exporting.export(saved["average"], RECIPE.tower, log_scale(saved["scales"]), target)


@app.command()
def evaluate(work: Work = None, output: Output = None) -> None:
    """Measure the exported tower; write the tables, the bank of names and the model card."""
    from multimodal.encoders.checkpoint import read_checkpoint
    from multimodal.encoders.concepts import save_bank
    from multimodal.training import export as exporting
    from multimodal.training.evaluate import Evaluation, picture_encoder

    folder = _folder(work)
    target = output or folder / "export"
    corpus, see, encode = data.load_corpus(folder), picture_encoder(target), texts.encoder(_text_model())
    results = Evaluation(corpus, folder, see, encode).run()
    report.save(results, target)
    names = data.bank_names(corpus)
    save_bank(target, list(map(with_article, names)), encode(names), report.threshold(results))
    weights = read_checkpoint(target).weights
    card = report.model_card(results, weights.stat().st_size, RECIPE.tower)
    (target / exporting.CARD).write_text(card, encoding="utf-8")
    exporting.write_checksums(target)
    typer.echo(report.markdown(results))


@app.command("all")
def everything(work: Work = None, output: Output = None, steps: Steps = RECIPE.steps) -> None:
    """Everything in order. What is done already is not done again."""
    train(work, steps)
    export(work, output, steps)
    evaluate(work, output)


def _folder(work: Path | None) -> Path:
    return work or config.home() / "training"


def _checkpoint(work: Path) -> Path:
    return work / "checkpoint.pt"


def _text_model() -> Path:
    from multimodal.models.refs import EmbeddedRef
    from multimodal.models.store import ModelStore

    return ModelStore(config.home()).pull(EmbeddedRef(TEXT_MODEL))


def main() -> None:
    """Run a command; what the maintainer can mend is one line and no traceback."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        app()
    except ConfigError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
