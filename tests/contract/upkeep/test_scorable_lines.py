"""Whatever a collection gives up, every line that may still be taught can be scored."""

from collections.abc import Callable

import pytest

from core.errors import ArtifactGone
from core.evaluation.order import order_evaluation
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder
from core.jobs.queue import cancel_job
from core.jobs.rules import Job, JobStatus, Monitor
from core.registry.rows import Versions
from core.registry.versions import Model, Version
from core.values import ModelId
from tests.support.api.seeds import a_candidate
from tests.support.factories import NOW
from tests.support.notifiers import SilentNotifier
from tests.support.ordering import ME
from tests.support.scene import Scene, nothing
from tests.support.storage.collecting import NEWEST_ONLY, numbers, tidy

PAIRS = (("cat", "dog"), ("owl", "elk"), ("ant", "bee"), ("cod", "eel"), ("gnu", "yak"))


@pytest.fixture
def model(scene: Scene) -> Model:
    model = scene.model()
    scene.suite(model, scene.frozen("hat", "bag", offset=500))
    return model


def teach(scene: Scene, model: Model, *, parent: int | None = None) -> Job:
    """Update a model with two classes that no version has learned; the job as it ended."""
    count = len(scene.versions(model))
    pair = PAIRS[count - 1] if count <= len(PAIRS) else (f"left {count}", f"right {count}")
    scene.update(model, scene.frozen(*pair, offset=20 * count), parent=parent, auto_promote=False)
    return scene.run()


def teach_a_line(scene: Scene, model: Model, length: int) -> None:
    for parent in range(1, length):
        assert teach(scene, model, parent=parent).status is JobStatus.SUCCEEDED


def collect(scene: Scene) -> list[int]:
    """Collect all but what the newest version needs; return the versions that gave up weights."""
    return numbers(tidy(scene, NEWEST_ONLY).given_up)


def unjudged(scene: Scene, model: Model, *, parent: int) -> None:
    """A version whose job was cancelled before it was scored."""
    count = len(scene.versions(model))
    data = scene.frozen(*PAIRS[count - 1], offset=20 * count)
    job = scene.update(model, data, parent=parent, auto_promote=False)

    def cancel(monitor: Monitor) -> None:
        cancel_job(scene.platform, job.id)
        monitor.advance("evaluating", 1, 1)

    scene.script.evaluating = cancel
    assert scene.run().status is JobStatus.CANCELLED
    scene.script.evaluating = nothing
    assert scene.version(model, count + 1).verdict is None


def test_an_ancestor_keeps_its_weights_until_it_was_asked_what_it_learned(
    scene: Scene, model: Model
) -> None:
    unjudged(scene, model, parent=1)
    unjudged(scene, model, parent=2)
    unjudged(scene, model, parent=1)  # nobody's ancestor
    unjudged(scene, model, parent=3)
    assert collect(scene) == [4]
    ended = teach(scene, model, parent=5)
    assert (ended.status, ended.error) == (JobStatus.SUCCEEDED, None)


def test_what_cannot_be_scored_any_more_is_not_ordered(scene: Scene, model: Model) -> None:
    teach_a_line(scene, model, 5)
    assert collect(scene) == [2, 3]
    with pytest.raises(ArtifactGone) as told:
        order_evaluation(scene.platform, SilentNotifier(), ME, model=model.name, version=4)
    assert told.value.facts["version"] == 3
    assert order_evaluation(scene.platform, SilentNotifier(), ME, model=model.name, version=5)
    assert scene.run().status is JobStatus.SUCCEEDED


def before_the_first_lock(monkeypatch: pytest.MonkeyPatch, act: Callable[[Versions], None]) -> None:
    """Let something happen just before a version is locked for the first time."""
    get, waiting = Versions.get, [act]

    def get_later(self: Versions, of: ModelId, number: int, *, lock: bool = False) -> Version:
        if lock and waiting:
            waiting.pop()(self)
        return get(self, of, number, lock=lock)

    monkeypatch.setattr(Versions, "get", get_later)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_only_versions_that_were_locked_before_the_last_look_give_up_their_weights(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that becomes spare between the two looks may be about to go live."""
    for _ in range(3):
        a_candidate(scene.platform, model, verdict=Verdict.FAILED)
    job = scene.order(model, EvaluateOrder(version=3))
    before_the_first_lock(monkeypatch, lambda _: cancel_job(scene.platform, job.id))
    assert collect(scene) == [2]
    assert collect(scene) == [3]


def test_a_version_that_is_deleted_meanwhile_is_left_to_its_deletion(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        a_candidate(scene.platform, model, verdict=Verdict.FAILED)
    before_the_first_lock(monkeypatch, lambda versions: versions.remove(model.id, 2, NOW))
    assert collect(scene) == [3]
