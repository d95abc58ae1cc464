"""Jobs to which something happens while they train."""

from collections.abc import Callable

from core.jobs.rules import Job, Monitor
from core.values import sha256
from tests.support.scene import Scene

STATE = sha256(b"state")


def training(scene: Scene, *, then: Callable[[Monitor], object]) -> Job:
    """A queued update that takes a step, keeps a checkpoint, and to which something happens."""

    def train(monitor: Monitor) -> None:
        monitor.advance("training", 1, 9)
        monitor.save_checkpoint(scene.platform.artifacts.put(b"state"), 1)
        then(monitor)

    scene.script.training = train
    return scene.update(scene.model(), scene.frozen("cat", "dog"))


def raising(error: BaseException) -> Callable[[Monitor], object]:
    def happen(monitor: Monitor) -> None:
        raise error

    return happen
