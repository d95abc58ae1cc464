"""A task repeats to the bit, and a run that was stopped resumes to the same bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from core.errors import StopRequested
from core.learning import step as checkpoint
from core.learning.features import FeatureStatistics
from core.recipes.fields import (
    Averaging,
    Method,
    ModelPart,
    Optimiser,
    Precision,
    Schedule,
    TeacherPolicy,
    Vocabulary,
)
from core.training.trainer import TrainingSpec
from core.values import Digest
from tests.support.learning.lessons import (
    StoppingAsItSaves,
    Watching,
    another_root,
    stopped,
    train,
    with_recipe,
)
from tests.support.memory_artifacts import MemoryArtifacts


class KeepingEach(Watching):
    """A watch with the checkpoints of all steps, of which an update keeps the newest alone."""

    def __init__(self, artifacts: MemoryArtifacts) -> None:
        super().__init__(every=1)
        self.states: dict[int, bytes] = {}
        self._artifacts = artifacts

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        super().save_checkpoint(digest, step)
        self.states[step] = self._artifacts.get(digest)


def test_the_same_task_gives_the_same_digest_and_another_seed_another(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    first = train(artifacts, spec)
    torch.rand(3)
    assert train(artifacts, spec).digest == first.digest
    assert train(artifacts, with_recipe(spec, seed=12)).digest != first.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": Precision.BF16, "schedule": Schedule.STEP},
        {
            "part": ModelPart.TEXT,
            "augment": False,
            "projection": 0.5,
            "vocabulary": Vocabulary.FILE,
            "vocabulary_texts": ("a boat", "two cats", "rain"),
        },
        {"method": Method.LWF, "part": ModelPart.IMAGE},
        {
            "method": Method.VRLWF_CROSS,
            "teacher": TeacherPolicy.BOTH,
            "precision": Precision.FP16,
            "averaging": Averaging.EMA,
            "averaging_decay": 0.6,
        },
        {
            "method": Method.REPLAY,
            "exemplars": 3,
            "exemplar_batch": 2,
            "precision": Precision.FP16,
            "averaging": Averaging.RUNNING,
        },
        {
            "method": Method.VRLWF_REPLAY,
            "exemplars": 3,
            "warm_start": 0.3,
            "projection": 0.5,
            "averaging": Averaging.RUNNING,
        },
        {"method": Method.VRLWF_FEATURES, "teacher": TeacherPolicy.PARENT},
        {
            "method": Method.ZSCL,
            "teacher": TeacherPolicy.ROOT,
            "averaging": Averaging.RUNNING,
            "averaging_every": 2,
        },
        {"method": Method.WISE, "micro_batch": 3, "gradient_checkpointing": True},
        {
            "method": Method.IMM_MEAN,
            "optimiser": Optimiser.ADAMW,
            "weight_decay": 0.1,
            "unit_gradient": True,
        },
    ],
    ids=str,
)
def test_a_run_stopped_at_any_step_ends_in_the_same_digest(
    changes: dict[str, Any], artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    green = FeatureStatistics.of(torch.eye(16)[:3])
    spec = replace(
        with_recipe(spec, **changes),
        learned=("green",),
        root=another_root(artifacts),
        feature_statistics={"green": artifacts.put(green.to_bytes())},
    )
    straight = KeepingEach(artifacts)
    undisturbed = train(artifacts, spec, straight)
    for step in (1, 2, 3, 4):
        # A stop leaves nothing else behind.
        resumed, kept = Watching(), artifacts.put(straight.states[step])
        assert train(artifacts, spec, resumed, resume=kept).digest == undisturbed.digest
        assert len(resumed.terms) == len(straight.terms) - step


def test_a_run_stopped_at_every_step_ends_in_the_same_digest(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    spec = with_recipe(spec, sentences=200)  # two steps a block of the teacher's reading
    undisturbed = train(artifacts, spec)
    kept: Digest | None = None
    for _ in range(4):
        monitor = StoppingAsItSaves(every=1)
        with pytest.raises(StopRequested):
            train(artifacts, spec, monitor, resume=kept)
        kept = monitor.saved[-1][1]
    assert train(artifacts, spec, resume=kept).digest == undisturbed.digest


@pytest.mark.parametrize("damage", ["gone", "corrupt", "of another format"])
def test_without_its_checkpoint_a_run_starts_over_to_the_same_digest(
    damage: str, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    undisturbed = train(artifacts, spec)
    kept = stopped(artifacts, spec)
    if damage == "gone":
        artifacts.delete(kept)
    elif damage == "of another format":
        state = checkpoint.from_bytes(artifacts.get(kept))
        kept = artifacts.put(checkpoint.to_bytes({"format": 1, "step": state["step"]}))
    else:
        artifacts.bytes_of[kept] = artifacts.bytes_of[kept][:-1]
    assert train(artifacts, spec, resume=kept).digest == undisturbed.digest


def test_a_checkpoint_of_other_images_is_ignored(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    kept = stopped(artifacts, spec)
    other = replace(spec, images=spec.images[1:])
    assert train(artifacts, other, resume=kept).digest == train(artifacts, other).digest
