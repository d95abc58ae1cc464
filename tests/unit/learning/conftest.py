"""A store in memory and a first update, for most tests of the learning."""

from __future__ import annotations

import pytest
import torch

from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import red_and_blue
from tests.support.memory_artifacts import MemoryArtifacts


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    return red_and_blue(artifacts)
