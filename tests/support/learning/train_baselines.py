"""Trains the baselines on the small lessons."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.baselines import BASELINES
from core.clip.model import load
from core.learning.run import TrainingRun
from core.learning.setup import prepare_run
from core.learning.step import StepData
from core.learning.trainer import UpdateTrainer
from core.training.trainer import Trained, TrainingSpec
from core.values import Digest
from tests.support.learning.lessons import Watching, with_recipe
from tests.support.memory_artifacts import MemoryArtifacts

CPU = torch.device("cpu")


def train(
    name: str,
    artifacts: MemoryArtifacts,
    spec: TrainingSpec,
    monitor: Watching | None = None,
    resume: Digest | None = None,
) -> Trained:
    baseline = BASELINES[name]
    trainer = UpdateTrainer(artifacts, device=CPU, threads=1, make_method=baseline.make)
    lesson = with_recipe(spec, **baseline.recipe)
    return trainer.train(lesson, resume=resume, monitor=monitor or Watching())


def prepared(
    name: str, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> tuple[TrainingRun, Iterator[StepData]]:
    baseline = BASELINES[name]
    lesson = with_recipe(spec, **baseline.recipe)
    found = prepare_run(lesson, load(spec.parent, artifacts), artifacts, make_method=baseline.make)
    return found.update, (found.reading.step(step) for step in range(found.update.steps))
