"""Measures an exported tower on drawing styles that it was not trained on, by the product's encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from multimodal.errors import ConfigError
from multimodal.training import metrics, pictures, render, texts
from multimodal.training.captions import with_article
from multimodal.training.concepts import Icon
from multimodal.training.data import Corpus, bank_names
from multimodal.training.questions import QUESTIONS
from multimodal.training.report import THRESHOLD, Result

if TYPE_CHECKING:
    import numpy.typing as npt

    from multimodal.training.pictures import Picture

    Floats = npt.NDArray[np.float32]
    See = Callable[[Sequence[Picture]], Floats]

SEED = 2024
PER_KIND = 100
_BATCH = 32


def picture_encoder(folder: Path) -> See:
    """Unit vectors (n, 384) of pictures (height, width, 3) uint8, as the product's ImageEncoder has them."""
    from multimodal.encoders.image import OpenClipImageEncoder
    from multimodal.types import Image

    encoder = OpenClipImageEncoder(folder)

    def see(shown: Sequence[Picture]) -> Floats:
        vectors: list[Floats] = []
        for start in range(0, len(shown), _BATCH):
            part = [
                Image(sha256="", pixels=one, width=one.shape[1], height=one.shape[0], format="png")
                for one in map(np.ascontiguousarray, shown[start : start + _BATCH])
            ]
            vectors += [feature.vector for feature in encoder.encode(part) if feature.vector is not None]
        return np.stack(vectors)

    return see


class Evaluation:
    """All measurements of one tower."""

    def __init__(self, corpus: Corpus, work: Path, see: See, encode: texts.Encode) -> None:
        self._corpus, self._work, self._see, self._encode = corpus, work, see, encode
        self._labels = [corpus.concepts[number].label for number in corpus.trained]
        self._names, self._bank = encode(self._labels), encode(bank_names(corpus))
        self._known: list[Floats] = []

    def run(self) -> list[Result]:
        """Every row of the table, held-out styles first."""
        results: list[Result] = []
        for name, icons in self._corpus.held_out.items():
            path = self._work / "renders" / f"{name}.npy"
            rendered = render.render_evaluation(self._work / "packages", path, icons)
            for ground, shown in (
                ("white", pictures.on_white(rendered)),
                ("varied backgrounds", pictures.on_backgrounds(rendered, SEED)),
            ):
                results += self._style(f"{name}, {ground}", icons, self._see(shown))
        return [*results, *self._choices(), *self._confidence()]

    def _style(self, gallery: str, icons: Sequence[Icon], vectors: Floats) -> list[Result]:
        """Retrieval both ways on one gallery."""
        labels = np.array([self._corpus.concepts[icon.concept].label for icon in icons])
        self._known.append(vectors)
        queries = sorted(set(labels.tolist()))
        true = np.array(queries)[:, None] == labels
        by_name = metrics.best_ranks(self._encode(queries) @ vectors.T, true)
        sentences = self._encode([f"a picture of {with_article(label)}" for label in queries])
        by_sentence = metrics.best_ranks(sentences @ vectors.T, true)
        naming = metrics.best_ranks(vectors @ self._names.T, labels[:, None] == np.array(self._labels))
        size = f"{len(labels)} pictures"
        results = [
            Result(gallery, f"name to picture R@{k}, of {size}", metrics.recall_at(by_name, k))
            for k in (1, 5, 10)
        ]
        results += [
            Result(gallery, f'"a picture of ..." to picture R@{k}', metrics.recall_at(by_sentence, k))
            for k in (1, 5)
        ]
        results += [
            Result(
                gallery,
                f"picture to name top-{k}, of {len(self._labels)} names",
                metrics.recall_at(naming, k),
            )
            for k in (1, 5)
        ]
        return results + self._descriptions(gallery, labels, vectors)

    def _descriptions(self, gallery: str, labels: npt.NDArray[np.str_], vectors: Floats) -> list[Result]:
        """Words that are not the name."""
        bank = {text.casefold() for text in texts.make_bank(self._corpus.concepts, 0).texts}
        if any(query.casefold() in bank for query, _ in QUESTIONS):
            raise ConfigError("A description of the evaluation is a text of the caption bank.")
        there = set(labels.tolist())
        asked = [(query, answers & there) for query, answers in QUESTIONS if answers & there]
        true = np.array([[label in answers for label in labels] for _, answers in asked])
        ranks = metrics.best_ranks(self._encode([query for query, _ in asked]) @ vectors.T, true)
        return [
            Result(gallery, f"{len(asked)} descriptions to picture R@{k}", metrics.recall_at(ranks, k))
            for k in (1, 5, 10)
        ]

    def _choices(self) -> list[Result]:
        """Colour-and-shape questions: the caption that is most similar is the answer."""
        questions = pictures.colour_and_shape_questions(PER_KIND, SEED, render.resvg)
        vectors = self._see([question.picture for question in questions])
        right: dict[str, list[bool]] = {}
        for question, vector in zip(questions, vectors, strict=True):
            scores = self._encode(question.captions) @ vector
            right.setdefault(question.kind, []).append(bool(scores[0] > scores[1:].max()))
        rows = [
            Result("drawn shapes", f"{kind}, {len(got)} questions", float(np.mean(got)))
            for kind, got in right.items()
        ]
        basic = [one for kind in ("colour", "shape", "colour and shape of 168") for one in right[kind]]
        return [
            *rows,
            Result("drawn shapes", "colour and shape, first three together", float(np.mean(basic))),
        ]

    def _confidence(self) -> list[Result]:
        """Known pictures against unrelated ones, by the similarity of the nearest name."""
        known = np.concatenate([self._best(vectors) for vectors in self._known])
        groups = {kind: self._best(self._see(shown)) for kind, shown in pictures.unrelated(SEED).items()}
        groups["photographs"] = self._best(self._see(pictures.photographs(SEED)))
        unknown = np.concatenate(list(groups.values()))
        threshold = metrics.best_threshold(known, unknown)
        where = "confidence: similarity of the nearest name"
        results = [
            Result(where, THRESHOLD, threshold),
            Result(where, "AUROC, known against all unrelated", metrics.auroc(known, unknown)),
            Result(where, "known at or above the threshold", float((known >= threshold).mean())),
            Result(where, "unrelated below the threshold", float((unknown < threshold).mean())),
            Result(where, "median of known", float(np.median(known))),
        ]
        for kind, scores in groups.items():
            results.append(Result(where, f"{kind} ({len(scores)}): median", float(np.median(scores))))
            results.append(Result(where, f"{kind}: AUROC", metrics.auroc(known, scores)))
        return results

    def _best(self, vectors: Floats) -> Floats:
        best: Floats = (vectors @ self._bank.T).max(1)
        return best
