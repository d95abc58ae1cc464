"""Training where a checkpoint finds no room: on while its result still does, or paused."""

import pytest

from core.artifacts.store import BytesCallback, ignore_bytes
from core.clip.model import published_bytes
from core.errors import StopRequested, StorageFull
from core.values import Digest
from tests.support.learning.lessons import StoppingAsItSaves, Watching, red_and_blue, train
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

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


class Stopping(StoppingAsItSaves):
    """Is told to stop as a checkpoint is skipped."""

    def skip_checkpoint(self, step: int, facts: object) -> None:
        raise self.stop_with


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


def test_worker_that_stops_does_so_without_the_checkpoint() -> None:
    cramped = Cramped(WEIGHTS_BYTES)
    with pytest.raises(StopRequested):
        train(cramped, red_and_blue(cramped), Stopping(every=2))
