"""Small lessons for the trainer, and a watch that records how one goes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image

from core.clip.weights import publish
from core.domain.dataset import ManifestEntry
from core.domain.prompt import DEFAULT_PROMPT
from core.domain.recipe import (
    Recipe,
)
from core.domain.values import Digest
from core.domain.version import Weights
from core.errors import (
    StopRequested,
)
from core.learning.session import UpdateTrainer
from core.ports import TrainingTask
from tests.unit.memory_artifacts import MemoryArtifacts
from tests.unit.tiny_clip import tiny_clip

RECIPE = Recipe(
    epochs=2,
    batch_size=4,
    learning_rate=3e-3,
    sentences=6,
    sentence_length=6,
    replay_weight=1.0,
    seed=11,
)


@dataclass
class Watching:
    """A watch that keeps a checkpoint every `every` steps and raises at `stop_at`."""

    every: int = 0
    stop_at: int = 0
    stop_with: type[Exception] = StopRequested
    saved: list[tuple[int, Digest]] = field(default_factory=list)
    steps: list[tuple[str, int, int]] = field(default_factory=list)
    terms: list[Mapping[str, float]] = field(default_factory=list)
    taken: int = 0

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        self.steps.append((phase, step, total))
        if phase == "training":
            self.terms.append(terms or {})
            if step == self.stop_at:
                raise self.stop_with

    def checkpoint_due(self) -> bool:
        self.taken += 1
        return bool(self.every) and self.taken % self.every == 0

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        self.saved.append((step, digest))


class StoppingAsItSaves(Watching):
    """As the real watch does: the checkpoint counts, then the worker is told to stop."""

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        super().save_checkpoint(digest, step)
        raise self.stop_with


def image(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 18), colour).save(out, "WEBP", lossless=True)
    return out.getvalue()


def train(
    artifacts: MemoryArtifacts,
    task: TrainingTask,
    watch: Watching | None = None,
    resume: Digest | None = None,
) -> Weights:
    trainer = UpdateTrainer(artifacts, device=torch.device("cpu"), threads=1)
    return trainer.train(task, resume=resume, watch=watch or Watching()).weights


def with_recipe(task: TrainingTask, **changes: Any) -> TrainingTask:
    return replace(task, recipe=replace(task.recipe, **changes))


def red_and_blue(artifacts: MemoryArtifacts) -> TrainingTask:
    """Red and blue squares of many shades: ten images, so batches of 4, 4 and a dropped 2."""
    model = tiny_clip()
    parent = publish(model.config, model.network.state_dict(), artifacts, lambda done, total: None)
    entries = []
    for shade in range(5):
        for name, colour in (("red", (250 - shade, 0, 9)), ("blue", (9, 0, 250 - shade))):
            digest = artifacts.put(image(colour))
            entries.append(ManifestEntry(pixels=digest, artifact=digest, texts=(name,)))
    return TrainingTask(
        parent=parent.digest,
        root=parent.digest,
        recipe=RECIPE,
        classes=("blue", "red"),
        learned=(),
        open_classes=("green", "Red"),
        images=tuple(sorted(entries, key=lambda entry: entry.pixels)),
        prompt=DEFAULT_PROMPT,
    )
