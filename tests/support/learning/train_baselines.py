"""Trains the baselines on the small lessons."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.baselines.catalogue import BASELINES
from core.clip.weights import load
from core.domain.values import Digest
from core.learning.gradients import StepData
from core.learning.setup import begin
from core.learning.trainer import UpdateTrainer
from core.learning.training_run import Update
from core.ports import Trained, TrainingTask
from tests.support.learning.lessons import Watching, with_recipe
from tests.support.memory_artifacts import MemoryArtifacts

CPU = torch.device("cpu")


def train(
    name: str,
    artifacts: MemoryArtifacts,
    task: TrainingTask,
    watch: Watching | None = None,
    resume: Digest | None = None,
) -> Trained:
    baseline = BASELINES[name]
    trainer = UpdateTrainer(artifacts, device=CPU, threads=1, make_method=baseline.make)
    lesson = with_recipe(task, **baseline.recipe)
    return trainer.train(lesson, resume=resume, watch=watch or Watching())


def begun(
    name: str, artifacts: MemoryArtifacts, task: TrainingTask
) -> tuple[Update, Iterator[StepData]]:
    baseline = BASELINES[name]
    lesson = with_recipe(task, **baseline.recipe)
    found = begin(lesson, load(task.parent, artifacts), artifacts, make_method=baseline.make)
    return found.update, (found.reading.step(step) for step in range(found.update.steps))
