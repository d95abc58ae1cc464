"""Checkpoints: one is kept, none where there is no room, and machines are remembered."""

from __future__ import annotations

import io

import pytest
import torch

from core.artifacts.store import BytesCallback, ignore_bytes
from core.clip.model import published_bytes
from core.errors import LeaseLost, StopRequested, StorageFull
from core.learning import step as checkpoint
from core.training.trainer import TrainingSpec
from core.values import Digest
from tests.support.learning.lessons import (
    StoppingAsItSaves,
    Watching,
    red_and_blue,
    stopped,
    train,
    trainer_of,
)
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts


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
