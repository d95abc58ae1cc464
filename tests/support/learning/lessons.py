"""Small lessons for the trainer, and a watch that records how one goes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.output import NullMonitor
from core.artifacts.store import Artifacts
from core.clip.model import load, read_state
from core.datasets.manifests import ManifestEntry
from core.errors import StopRequested
from core.evaluation.queries import ClassQuery, RetrievalQuery
from core.learning.setup import PreparedRun, prepare_run
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import DEFAULT_PROMPT, Method, ModelPart, Precision
from core.recipes.presets import COMPOSED
from core.recipes.rules import Recipe
from core.registry.versions import Weights
from core.scoring.evaluator import VersionEvaluator
from core.training.trainer import Selection, Trained, TrainingSpec
from core.values import Digest, Json
from tests.support.factories import an_entry
from tests.support.learning.tiny_clip import stored, tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.pictures import encode

PARTS = tuple(part for part in ModelPart if part is not ModelPart.TOP)  # of towers of any kind

PRECISIONS = (Precision.FP32, Precision.BF16, Precision.FP16)  # what a task may name

RECIPE = Recipe(
    method=Method.VRLWF,
    epochs=2,
    batch_size=4,
    learning_rate=3e-3,
    sentences=6,
    sentence_length=6,
    replay_weight=1.0,
    precision=Precision.FP32,
    seed=11,
)


@dataclass
class Watching(NullMonitor):
    """A watch that keeps a checkpoint every `every` steps and raises from `stop_at` on."""

    every: int = 0
    stop_at: int = 0
    stop_in: str = "training"
    stop_with: type[Exception] = StopRequested
    saved: list[tuple[int, Digest]] = field(default_factory=list)
    steps: list[tuple[str, int, int]] = field(default_factory=list)
    terms: list[Mapping[str, float]] = field(default_factory=list)
    told: list[tuple[str, Json]] = field(default_factory=list)
    taken: int = 0

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        self.steps.append((phase, step, total))
        if phase == "training":
            self.terms.append(terms or {})
        if self.stop_at and phase == self.stop_in and step >= self.stop_at:
            raise self.stop_with

    def checkpoint_due(self) -> bool:
        self.taken += 1
        return bool(self.every) and self.taken % self.every == 0

    def skip_checkpoint(self, step: int, facts: Json) -> None:
        self.told.append(("checkpoint_skipped", {"step": step, **facts}))

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        self.saved.append((step, digest))

    def emit(self, kind: str, data: Json) -> None:
        self.told.append((kind, data))


class StoppingAsItSaves(Watching):
    """As the real watch does: the checkpoint counts, then the worker is told to stop."""

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        super().save_checkpoint(digest, step)
        raise self.stop_with


def entry_of(artifacts: Artifacts, image: Image.Image, *texts: str) -> ManifestEntry:
    """A stored image and its texts."""
    digest = artifacts.put(encode(image, "WEBP", lossless=True))
    return an_entry(pixels=digest, artifact=digest, texts=texts)


def square(artifacts: Artifacts, text: str, colour: tuple[int, int, int]) -> ManifestEntry:
    return entry_of(artifacts, Image.new("RGB", (20, 18), colour), text)


def trainer_of(artifacts: Artifacts, *, threads: int = 1, device: str = "cpu") -> UpdateTrainer:
    """The trainer of a worker; the number of threads makes it another kind of machine."""
    chosen = torch.device(device)
    ask = VersionEvaluator(artifacts, device=chosen, threads=threads).ask
    return UpdateTrainer(artifacts, device=chosen, threads=threads, ask=ask)


def trained(
    artifacts: Artifacts,
    spec: TrainingSpec,
    monitor: Watching | None = None,
    resume: Digest | None = None,
) -> Trained:
    return trainer_of(artifacts).train(spec, resume=resume, monitor=monitor or Watching())


def train(
    artifacts: Artifacts,
    spec: TrainingSpec,
    monitor: Watching | None = None,
    resume: Digest | None = None,
) -> Weights:
    return trained(artifacts, spec, monitor, resume).weights


def prepared(artifacts: Artifacts, spec: TrainingSpec, **options: Any) -> PreparedRun:
    return prepare_run(spec, load(spec.parent, artifacts), artifacts, **options)


def stopped(artifacts: Artifacts, spec: TrainingSpec, *, at: int = 2) -> Digest:
    """The checkpoint of an update that was stopped after some steps."""
    monitor = Watching(every=1, stop_at=at)
    with suppress(StopRequested):
        train(artifacts, spec, monitor)
    step, kept = monitor.saved[-1]
    assert step == at
    return kept


def altered(recipe: Recipe, **changes: Any) -> Recipe:
    """Return a copy of a recipe; a new method brings its own choices.

    Part and augmentation stay, except for the method that has its own.
    """
    method = changes.get("method")
    kept = () if method is Method.VRLWF_FEATURES else ("part", "augment")
    choices = dict.fromkeys(name for name in COMPOSED if name not in kept) if method else {}
    return replace(recipe, **(choices | changes))


def with_recipe(spec: TrainingSpec, **changes: Any) -> TrainingSpec:
    return replace(spec, recipe=altered(spec.recipe, **changes))


def another_root(artifacts: MemoryArtifacts) -> Digest:
    """A version that the parent has moved away from."""
    return stored(tiny_clip(seed=1), artifacts).digest


def red_and_blue(artifacts: Artifacts, config: dict[str, Any] | None = None) -> TrainingSpec:
    """Red and blue squares of many shades: ten images, so batches of 4, 4 and a dropped 2.

    Green squares stand by as exemplars and suite, so that every method can start.
    """
    parent = stored(tiny_clip(config=config), artifacts)
    entries = [
        square(artifacts, name, colour)
        for shade in range(5)
        for name, colour in (("red", (250 - shade, 0, 9)), ("blue", (9, 0, 250 - shade)))
    ]
    greens = tuple(square(artifacts, "green", (9, 250 - shade, 0)) for shade in range(4))
    reference = [(200, 200, shade) for shade in range(4)]
    return TrainingSpec(
        parent=parent.digest,
        root=parent.digest,
        recipe=RECIPE,
        classes=("blue", "red"),
        learned=(),
        open_classes=("green", "Red"),
        images=tuple(sorted(entries, key=lambda entry: entry.pixels)),
        prompt=DEFAULT_PROMPT,
        exemplars=greens,
        reference=tuple(square(artifacts, f"a wall of shade {c[2]}", c) for c in reference),
        selection=Selection(
            new=ClassQuery(entries=tuple(entries), classes=("blue", "red"), prompt=DEFAULT_PROMPT),
            kept=(
                ClassQuery(entries=greens, classes=("green", "grey"), prompt=DEFAULT_PROMPT),
                RetrievalQuery(entries=greens),
            ),
        ),
    )


def noise_image(
    artifacts: Artifacts, seed: int, *texts: str, size: tuple[int, int] = (18, 20)
) -> ManifestEntry:
    """An image on which every cut looks different."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(256, (*size, 3), generator=generator, dtype=torch.uint8)
    return entry_of(artifacts, Image.fromarray(noise.numpy()), *texts)


def tensors(artifacts: MemoryArtifacts, version: Digest) -> dict[str, Tensor]:
    """Return the tensors of a version by name."""
    return read_state(Weights.from_bytes(artifacts.get(version)), artifacts)
