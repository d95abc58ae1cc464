"""A store in memory and a first update, for most tests of the learning."""

from __future__ import annotations

import pytest

from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import red_and_blue
from tests.support.memory_artifacts import MemoryArtifacts


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    return red_and_blue(artifacts)
