"""A task repeats to the bit, and resumes to the same bits from the one checkpoint that is kept."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import torch

from core.artifacts.store import BytesCallback, ignore_bytes
from core.clip.model import published_bytes
from core.errors import LeaseLost, StopRequested, StorageFull
from core.learning import step as checkpoint
from core.learning.statistics import FeatureStatistics
from core.learning.trainer import UpdateTrainer
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
    RECIPE,
    StoppingAsItSaves,
    Watching,
    another_root,
    red_and_blue,
    stopped,
    train,
    trainer_of,
    with_recipe,
)
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

CHANGES: list[dict[str, Any]] = [
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
]
TRIED = {changes.get("method", RECIPE.method) for changes in CHANGES}


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
    [*CHANGES, *({"method": method} for method in Method if method not in TRIED)],
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


@pytest.mark.parametrize("damage", ["gone", "corrupt", "of another format", "of other images"])
def test_without_its_checkpoint_a_run_starts_over_to_the_same_digest(
    damage: str, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    undisturbed = train(artifacts, spec)
    kept = stopped(artifacts, spec)
    if damage == "gone":
        artifacts.delete(kept)
    elif damage == "of other images":
        kept = stopped(artifacts, replace(spec, images=spec.images[1:]))
    elif damage == "of another format":
        state = checkpoint.from_bytes(artifacts.get(kept))
        kept = artifacts.put(checkpoint.to_bytes({"format": 1, "step": state["step"]}))
    else:
        artifacts.bytes_of[kept] = artifacts.bytes_of[kept][:-1]
    assert train(artifacts, spec, resume=kept).digest == undisturbed.digest


@pytest.mark.parametrize("monitor", [Watching(every=1, stop_at=3), StoppingAsItSaves(every=3)])
def test_only_the_newest_checkpoint_is_kept(
    monitor: Watching, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    old = artifacts.put(b"the checkpoint of an earlier attempt, damaged")
    artifacts.bytes_of[old] = b"!"
    with pytest.raises(StopRequested):
        train(artifacts, spec, monitor, resume=old)
    assert not artifacts.has(old)
    assert [artifacts.has(digest) for _, digest in monitor.saved] == [False] * (
        len(monitor.saved) - 1
    ) + [True]


def test_equal_updates_of_two_models_keep_a_checkpoint_each(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    kept = stopped(artifacts, spec)
    train(artifacts, spec, Watching(every=1))  # the other model's; each of its own is replaced
    assert artifacts.has(kept)


def test_a_checkpoint_that_was_refused_leaves_the_one_that_counts(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    kept = stopped(artifacts, spec, at=1)
    with pytest.raises(LeaseLost):
        train(artifacts, spec, StoppingAsItSaves(every=1, stop_with=LeaseLost), resume=kept)
    assert artifacts.has(kept)


def test_a_checkpoint_with_code_in_it_is_refused() -> None:
    out = io.BytesIO()
    torch.save({"step": Watching()}, out)
    with pytest.raises(Exception, match=r"Weights only"):
        checkpoint.from_bytes(out.getvalue())


def test_a_checkpoint_resumed_in_another_environment_says_so_and_remembers_it(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    kept = stopped(artifacts, spec)
    monitor = StoppingAsItSaves(every=1)
    with pytest.raises(StopRequested):
        trainer_of(artifacts, threads=2).train(spec, resume=kept, monitor=monitor)
    ((kind, told),) = monitor.told
    assert kind == "environment_changed"
    assert (told["step"], told["changed"]) == (2, {"threads": ["1", "2"]})
    assert "a different kind of machine than the one" in told["explanation"]
    watch_again = Watching()
    home = trainer_of(artifacts)
    trained = home.train(spec, resume=monitor.saved[-1][1], monitor=watch_again)
    away = trainer_of(artifacts, threads=2).environment()
    assert trained.environments == (home.environment(), away, home.environment())
    assert [kind for kind, _ in watch_again.told] == ["environment_changed"]


def test_a_checkpoint_goes_on_on_the_device_that_wrote_it_if_that_is_at_hand(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    kept, monitor = stopped(artifacts, spec), Watching()
    first = torch.device("meta")  # on which nothing can be trained
    trainer = UpdateTrainer(artifacts, device=first, others=[torch.device("cpu")], threads=1)
    found = trainer.train(spec, resume=kept, monitor=monitor)
    whole = trainer_of(artifacts).train(spec, resume=None, monitor=Watching())
    assert found.weights.digest == whole.weights.digest
    assert (found.environments, monitor.told) == (whole.environments, [])


WEIGHTS_BYTES = published_bytes(tiny_clip().network.state_dict())


class Cramped(MemoryArtifacts):
    """Takes nothing as large as a checkpoint, and has so much room besides."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.free = free

    def put(self, data: bytes | memoryview, moved: BytesCallback = ignore_bytes) -> Digest:
        if len(data) > WEIGHTS_BYTES:
            raise StorageFull(needed_bytes=len(data), free_bytes=self.free)
        return super().put(data, moved)

    def free_bytes(self) -> int:
        return self.free


def test_training_goes_on_without_a_checkpoint_while_its_weights_have_room() -> None:
    undisturbed = MemoryArtifacts()
    wanted = train(undisturbed, red_and_blue(undisturbed))
    cramped, monitor = Cramped(WEIGHTS_BYTES), Watching(every=1)
    made = train(cramped, red_and_blue(cramped), monitor)
    assert made.digest == wanted.digest
    assert monitor.saved == []
    skipped = [data for kind, data in monitor.told if kind == "checkpoint_skipped"]
    assert [data["step"] for data in skipped] == [1, 2, 3, 4]
    assert all(data["needed_bytes"] > data["free_bytes"] == WEIGHTS_BYTES for data in skipped)


def test_training_is_given_up_where_its_weights_would_find_no_room_either() -> None:
    cramped, monitor = Cramped(WEIGHTS_BYTES - 1), Watching(every=1)
    with pytest.raises(StorageFull) as caught:
        train(cramped, red_and_blue(cramped), monitor)
    assert caught.value.facts["free_bytes"] == WEIGHTS_BYTES - 1
    assert [step for phase, step, _ in monitor.steps if phase == "training"] == []
