"""What the tower is trained for: a picture lands on the words for it, among all other words.

Text vectors are constants. Five parts: cross-entropy of an icon over all concepts, each the mean of its
texts; soft cross-entropy over a part of the caption bank; a choice between a scene's caption and its foils;
cross-entropy of a text over the pictures of the batch; and plain cosine to the target, which keeps
pictures in the region of texts and not beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy, log_softmax, normalize

from multimodal.training.data import Words
from multimodal.training.plan import Plan
from multimodal.training.texts import Bank

NEAR_DUPLICATE = 0.9
"""Texts this similar to a picture's target are neither right nor wrong for it."""
BANK_WEIGHT, FOIL_WEIGHT, BATCH_WEIGHT, COSINE_WEIGHT = 0.5, 0.5, 0.3, 1.0
CAPTION_SHARE = 0.75
"""Of a scene's target; the rest goes to the concepts of its icons."""
NEGATIVES = 3000
"""Texts drawn at random in each step, beside those of the batch."""
_FIRST_SCALE, _FIRST_FOIL_SCALE, _LARGEST_SCALE = 18.0, 25.0, 100.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Mean losses of a batch."""

    concepts: torch.Tensor
    bank: torch.Tensor
    foils: torch.Tensor
    batch: torch.Tensor
    cosine: torch.Tensor

    def total(self) -> torch.Tensor:
        """The weighted sum."""
        words = self.concepts + BANK_WEIGHT * self.bank + FOIL_WEIGHT * self.foils
        return words + BATCH_WEIGHT * self.batch + COSINE_WEIGHT * self.cosine


class Scales(torch.nn.Module):
    """Learned inverse temperatures, as logarithms."""

    def __init__(self) -> None:
        super().__init__()
        first = (_FIRST_SCALE, _FIRST_FOIL_SCALE, _FIRST_SCALE, _FIRST_SCALE)
        self.logs = torch.nn.Parameter(torch.tensor([math.log(one) for one in first]))

    def forward(self) -> torch.Tensor:
        """(4,): bank, foils, batch, concepts."""
        return self.logs.clamp(max=math.log(_LARGEST_SCALE)).exp()


def log_scale(state: Mapping[str, torch.Tensor]) -> float:
    """Logarithm of the inverse temperature among concepts, from the saved state of `Scales`."""
    return min(float(state["logs"][3]), math.log(_LARGEST_SCALE))


class Objective:
    """Computes the losses of planned batches."""

    def __init__(self, words: Words) -> None:
        self._bank = words.bank_vectors
        self._captions, self._foils = words.captions, words.foils
        self._rows, self._shares = _padded(words.bank)
        means = (self._bank[self._rows] * self._shares.unsqueeze(-1)).sum(1)
        self.centroids = normalize(means, dim=-1)
        """(concepts, 384): where a picture of each concept should land."""
        self._unsure = _unsure(self.centroids, self._bank)
        self._twins = _unsure(self.centroids, self.centroids)

    def __call__(
        self, vectors: torch.Tensor, plan: Plan, scales: torch.Tensor, generator: torch.Generator
    ) -> Parts:
        """`vectors` (batch, 384) of unit length, in the order of the plan: icons first, then scenes."""
        concept, example = torch.from_numpy(plan.concept), torch.from_numpy(plan.example)
        singles = int((concept >= 0).sum())
        captions, foils = self._captions[example[singles:]], self._foils[example[singles:]]
        goals = torch.cat([self.centroids[concept[:singles]], captions])
        bank = torch.cat(
            [
                self._icon_loss(vectors[:singles], concept[:singles], scales[0], generator),
                self._scene_loss(vectors[singles:], plan, singles, captions, foils, scales[0]),
            ]
        )
        picked = torch.cat([self._pick(concept[:singles], generator), captions])
        return Parts(
            self._concept_loss(vectors[:singles], concept[:singles], scales[3]),
            bank.mean(),
            _foil_loss(vectors[singles:], captions, foils, scales[1]),
            _batch_loss(vectors, picked, goals, scales[2]),
            (1 - (vectors * goals).sum(-1)).mean(),
        )

    def _concept_loss(
        self, vectors: torch.Tensor, concept: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor:
        twins = self._twins[concept]
        twins[torch.arange(len(concept)), concept] = False
        logits = (scale * vectors @ self.centroids.T).masked_fill(twins, -1e4)
        return cross_entropy(logits, concept) if len(concept) else vectors.sum()

    def _icon_loss(
        self, vectors: torch.Tensor, concept: torch.Tensor, scale: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Over the texts of the batch's own concepts and as many others as NEGATIVES says."""
        rows, shares = self._rows[concept], self._shares[concept]
        others = torch.randint(len(self._bank), (NEGATIVES,), generator=generator)
        columns = torch.from_numpy(np.unique(torch.cat([rows.flatten(), others]).numpy()))
        place = torch.zeros(len(self._bank), dtype=torch.long)
        place[columns] = torch.arange(len(columns))
        target = torch.zeros(len(vectors), len(columns)).scatter_add_(1, place[rows], shares)
        unsure = self._unsure[concept][:, columns]
        return self._soft(scale * vectors @ self._bank[columns].T, target, unsure)

    def _scene_loss(
        self,
        vectors: torch.Tensor,
        plan: Plan,
        first: int,
        captions: torch.Tensor,
        foils: torch.Tensor,
        scale: torch.Tensor,
    ) -> torch.Tensor:
        """Over all concepts, the batch's captions and all their foils."""
        count = len(vectors)
        known = len(self.centroids)
        columns = torch.cat([self.centroids, captions, foils.flatten(0, 1)])
        target = torch.zeros(count, len(columns))
        for row, scene in enumerate(plan.scenes[first:]):
            icons = [thing.concept for thing in scene.things if thing.concept is not None] if scene else []
            target[row, known + row] = CAPTION_SHARE if icons else 1.0
            for icon in icons:
                target[row, icon] += (1 - CAPTION_SHARE) / len(icons)
        unsure = _unsure(captions, columns)
        unsure[:, known + count :] = False  # foils are near and wrong
        return self._soft(scale * vectors @ columns.T, target, unsure)

    @staticmethod
    def _soft(logits: torch.Tensor, target: torch.Tensor, unsure: torch.Tensor) -> torch.Tensor:
        """Cross-entropy with soft targets, whose rows sum to one; near duplicates of them are left out."""
        logs = log_softmax(logits.masked_fill(unsure & (target == 0), -1e4), -1)
        return -(target * logs).sum(-1)

    def _pick(self, concept: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One text of each concept, by share."""
        if not len(concept):
            return self._bank[:0]
        column = torch.multinomial(self._shares[concept], 1, generator=generator)
        return self._bank[self._rows[concept].gather(1, column).squeeze(1)]


def _unsure(goals: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """(goals, columns): which texts are so near a goal that they are neither right nor wrong for it."""
    parts = (goals[start : start + 256] for start in range(0, len(goals), 256))
    rows = [part @ columns.T > NEAR_DUPLICATE for part in parts]
    return torch.cat(rows) if rows else torch.zeros(0, len(columns), dtype=torch.bool)


def _padded(bank: Bank) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and shares of all concepts as (concepts, most); padding has no share."""
    most = max(len(rows) for rows in bank.rows)
    rows = torch.zeros(len(bank.rows), most, dtype=torch.long)
    shares = torch.zeros(len(bank.rows), most)
    for number, (own, weights) in enumerate(zip(bank.rows, bank.shares, strict=True)):
        rows[number, : len(own)] = torch.from_numpy(own)
        shares[number, : len(own)] = torch.from_numpy(weights)
    return rows, shares


def _foil_loss(
    vectors: torch.Tensor, captions: torch.Tensor, foils: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """A scene's caption against its own foils. Empty scenes have none."""
    has = foils.abs().sum((1, 2)) > 0
    choices = torch.cat([captions.unsqueeze(1), foils], 1)[has]
    if not len(choices):
        return vectors.sum() * 0
    logits = scale * torch.einsum("nd,nkd->nk", vectors[has], choices)
    return cross_entropy(logits, torch.zeros(len(choices), dtype=torch.long))


def _batch_loss(
    vectors: torch.Tensor, picked: torch.Tensor, goals: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Each text finds its picture among those of the batch; others for which it is as true are left out."""
    same = (picked @ goals.T > NEAR_DUPLICATE) | (goals @ goals.T > NEAR_DUPLICATE)
    same.fill_diagonal_(False)
    logits = (scale * picked @ vectors.T).masked_fill(same, -1e4)
    return cross_entropy(logits, torch.arange(len(vectors)))
