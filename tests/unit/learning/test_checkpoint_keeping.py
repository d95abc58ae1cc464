"""One checkpoint is kept, the one that counts, and none with code in it is loaded."""

from __future__ import annotations

import io

import pytest
import torch

from core.errors import LeaseLost, StopRequested
from core.learning import step as checkpoint
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import StoppingAsItSaves, Watching, stopped, train
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
