"""The training loop: the seed and a step's number determine it, so a run can stop and go on anywhere."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.nn.functional import normalize as unit

from multimodal.errors import ConfigError
from multimodal.training import checkpoints
from multimodal.training.compose import Composer
from multimodal.training.objective import Objective, Parts, Scales
from multimodal.training.plan import Planner
from multimodal.training.threads import Threads
from multimodal.training.tower import Average, TowerSpec, begin_with, build, normalise

logger = logging.getLogger(__name__)

_LOG_EVERY = 40
AVERAGE_EVERY = 4


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a run. The README says how the shipped weights differ."""

    tower: TowerSpec = field(default_factory=TowerSpec)
    seed: int = 7
    steps: int = 5_000
    batch: int = 64
    sizes: tuple[tuple[float, int], ...] = ((0.5, 80),)
    """Share of steps until which pictures have this side in pixels; afterwards they have the tower's own."""
    gentle_until: float = 0.4
    """Share of steps with plainer pictures."""
    learning_rate: float = 1.0e-3
    trunk_share: float = 0.5
    """Of the learning rate, for the trunk, which has learned before."""
    weight_decay: float = 0.05
    warm_up: int = 250
    average_decay: float = 0.992
    """Of the average that is shipped, for each AVERAGE_EVERY steps."""
    checkpoint_every: int = 100
    bf16: bool = False
    """Depthwise convolutions gain nothing from it."""

    def fingerprint(self) -> str:
        """Changes with any setting."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def size_px(self, step: int) -> int:
        """Side of the pictures of a step."""
        for until, size_px in self.sizes:
            if step < until * self.steps:
                return size_px
        return self.tower.image_size

    @property
    def gentle_steps(self) -> int:
        """Steps with plainer pictures."""
        return round(self.gentle_until * self.steps)

    def rate(self, step: int) -> float:
        """Learning rate: linear warm-up, then half a cosine to a hundredth."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class Trainer:
    """A run: its weights, its optimiser, and where it has got to."""

    def __init__(
        self,
        recipe: Recipe,
        planner: Planner,
        composer: Composer,
        objective: Objective,
        first_weights: Path | None = None,
    ) -> None:
        """`first_weights` are of a classifier that the trunk begins with; None: it begins with chance."""
        self.recipe = recipe
        self._planner, self._composer, self._objective = planner, composer, objective
        torch.manual_seed(recipe.seed)
        self.tower, self._scales = build(recipe.tower), Scales()
        if first_weights is not None:
            begin_with(self.tower, first_weights)
        self.average = Average(self.tower, recipe.average_decay)
        self._optimiser = torch.optim.AdamW(
            _groups(self.tower, self._scales, recipe), lr=recipe.learning_rate, fused=True
        )
        self.step = 0

    def run(self, until: int, path: Path | None = None, threads: Threads | None = None) -> None:
        """Train up to step `until`, saving to `path` every so many steps and at the end."""
        started, first = time.monotonic(), self.step
        while self.step < until:
            parts = self.train_step()
            if threads is not None:
                threads.adjust()
            if self.step % _LOG_EVERY == 0:
                rate = (self.step - first) / (time.monotonic() - started)
                logger.info("%s", self._line(parts, rate))
            if path is not None and (self.step % self.recipe.checkpoint_every == 0 or self.step == until):
                checkpoints.save(path, self.checkpoint())

    def train_step(self) -> Parts:
        """One batch; returns its losses."""
        recipe, step = self.recipe, self.step
        plan = self._planner.draw(recipe.batch, step)
        pictures = normalise(self._composer.draw(plan, step, recipe.size_px(step)))
        for group in self._optimiser.param_groups:
            group["lr"] = recipe.rate(step) * group["share"]
        self.tower.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            output = self.tower(pictures)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        parts = self._objective(unit(output.float(), dim=-1), plan, self._scales(), generator)
        self._optimiser.zero_grad(set_to_none=True)
        parts.total().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.tower.parameters(), 5.0)
        self._optimiser.step()
        self.step += 1
        if self.step % AVERAGE_EVERY == 0:
            self.average.update(self.tower, self.step)
        return parts

    def checkpoint(self) -> checkpoints.Checkpoint:
        """Everything that `resume` needs."""
        return {
            "step": self.step,
            "recipe": self.recipe.fingerprint(),
            "tower": self.tower.state_dict(),
            "average": self.average.state,
            "scales": self._scales.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def resume(self, saved: checkpoints.Checkpoint) -> None:
        """Go on from a checkpoint; ConfigError when it is of another recipe."""
        if saved["recipe"] != self.recipe.fingerprint():
            raise ConfigError("The checkpoint is of another recipe. Remove it, or use its settings.")
        self.step = saved["step"]
        self.tower.load_state_dict(saved["tower"])
        self.average.state = {name: value.clone() for name, value in saved["average"].items()}
        self._scales.load_state_dict(saved["scales"])
        self._optimiser.load_state_dict(saved["optimiser"])

    def _line(self, parts: Parts, rate: float) -> str:
        scales = " ".join(f"{scale:.1f}" for scale in self._scales().tolist())
        names = ("concepts", "bank", "foils", "batch", "cosine")
        losses = " ".join(f"{name} {getattr(parts, name).item():.3f}" for name in names)
        return f"step {self.step}/{self.recipe.steps} {losses} scales {scales} {rate:.2f} steps/s"


def _groups(tower: torch.nn.Module, scales: Scales, recipe: Recipe) -> list[dict[str, object]]:
    """Weights decay; biases, norms and temperatures do not. The trunk learns more slowly than the rest."""
    trunk, head = tower.get_submodule("trunk"), tower.get_submodule("head")
    groups: list[dict[str, object]] = [
        {"params": list(scales.parameters()), "weight_decay": 0.0, "share": 1.0}
    ]
    for part, share in ((trunk, recipe.trunk_share), (head, 1.0)):
        decayed = [weight for weight in part.parameters() if weight.ndim > 1]
        others = [weight for weight in part.parameters() if weight.ndim <= 1]
        groups.append({"params": decayed, "weight_decay": recipe.weight_decay, "share": share})
        groups.append({"params": others, "weight_decay": 0.0, "share": share})
    return [group for group in groups if group["params"]]
