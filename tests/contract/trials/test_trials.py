"""Trials of an alias: one at a time, ended by whatever moves it, and what they keep and note."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.audit.rows import AuditTrail
from core.audit.rules import AuditFilter
from core.errors import InUse, ModelNotFound, PerennialError, TrialEnded, TrialNotFound
from core.registry.read import locate
from core.registry.versions import Model
from core.trials import run
from core.trials.record import Batch, ShadowAnswer, label_predictions, record_predictions
from core.trials.rows import Trials
from core.trials.rules import CoursePoint, Shadowed, Trial, TrialEnd, TrialMode
from core.trials.run import resolve_tried, stop_trial
from core.upkeep.delete import delete_alias, delete_model, delete_version
from core.values import TrialId
from tests.contract.trials.conftest import Start
from tests.support.evaluation.judged import go_back, go_live
from tests.support.factories import a_prediction
from tests.support.scene import Scene
from tests.support.storage.collecting import NEWEST_ONLY, tidy


def trials_of(scene: Scene, model: Model) -> list[Trial]:
    with scene.platform.transactions(read_only=True) as work:
        return list(work[Trials].page(model.id, "production", 10, None))


def actions(scene: Scene) -> list[str]:
    with scene.platform.transactions(read_only=True) as work:
        return [event.change.action for event in work[AuditTrail].page(50, None, AuditFilter())]


def test_of_two_who_start_at_once_one_is_refused(scene: Scene, model: Model, start: Start) -> None:
    def attempt(_: int) -> str:
        try:
            return start().id
        except PerennialError as refusal:
            return refusal.code

    with ThreadPoolExecutor(2) as both:
        found = list(both.map(attempt, range(2)))
    assert found.count("trial_running") == 1
    (started,) = [one for one in found if one != "trial_running"]
    stop_trial(scene.platform, model=model.name, alias="production", trial=TrialId(started))
    with pytest.raises(TrialEnded):
        stop_trial(scene.platform, model=model.name, alias="production", trial=TrialId(started))
    second = start(TrialMode.CANARY)
    with scene.platform.transactions(read_only=True) as work:
        assert work[Trials].find(model.id, "production", "latest") == second
        assert work[Trials].running() == work[Trials].running(model.id) == [second]


def test_what_moves_or_deletes_the_alias_ends_its_trial(
    scene: Scene, model: Model, start: Start
) -> None:
    start()
    go_live(scene, model, 3)
    start(candidate=1, revision=3)
    go_back(scene, model, reason="worse")
    start(revision=4)
    delete_alias(
        scene.platform, model=model.name, alias="production", expected_revision=4, reason="a test"
    )
    assert [trial.end for trial in trials_of(scene, model)] == [
        TrialEnd.PROMOTED,
        TrialEnd.ALIAS_MOVED,
        TrialEnd.ALIAS_DELETED,
    ]
    with scene.platform.transactions(read_only=True) as work:
        assert work[Trials].running() == []
    assert actions(scene).count("trial.started") == actions(scene).count("trial.ended") == 3


def test_a_candidate_is_neither_deleted_nor_collected(
    scene: Scene, model: Model, start: Start
) -> None:
    trial = start(candidate=1)  # a root is kept for itself
    stop_trial(scene.platform, model=model.name, alias="production", trial=trial.id)
    trial = start()
    with pytest.raises(InUse) as refused:
        delete_version(scene.platform, model=model.name, version=3, reason="a test")
    assert refused.value.facts == {"trials": [trial.id]}
    assert tidy(scene, NEWEST_ONLY).given_up == []
    stop_trial(scene.platform, model=model.name, alias="production", trial=trial.id)
    delete_version(scene.platform, model=model.name, version=3, reason="a test")


def course_of(scene: Scene, trial: Trial) -> list[CoursePoint]:
    with scene.platform.transactions(read_only=True) as work:
        return list(work[Trials].course([trial.id])[trial.id])


def test_points_are_noted_as_labels_come_and_go_with_the_model(
    scene: Scene, model: Model, start: Start
) -> None:
    trial = start()
    made = [a_prediction(trial=trial.id, mode=trial.mode) for _ in range(6)]
    answer = ShadowAnswer(outcome=Shadowed.ANSWERED, answer="bag")
    shadows = {one.id: answer for one in made}
    record_predictions(scene.platform, Batch(predictions=made, shadows=shadows))
    assert course_of(scene, trial) == []
    for chunk in (made[:1], made[:1], made[1:3], made[3:5], made[5:]):
        label_predictions(scene.platform, [(one.id, "bag") for one in chunk])
    found = course_of(scene, trial)
    assert [point.labels for point in found] == [1, 3, 5]  # six are not a quarter more than five
    assert {point.estimate for point in found} == {1.0}
    widths = [point.upper - point.lower for point in found]
    assert widths == sorted(widths, reverse=True)
    assert {point.at for point in found} == {scene.platform.clock()}
    with scene.platform.transactions() as work:
        work[Trials].note_course(found)  # they are there
        work.commit()
    assert course_of(scene, trial) == found
    with scene.platform.transactions() as work:
        work[Trials].count(trial.id, {"later_release": 1})
        work.commit()
    with scene.platform.transactions(read_only=True) as work:
        assert (
            work[Trials].counts([trial.id])[trial.id].agreed == 0
        )  # the unknown count does no harm
    delete_model(scene.platform, model=model.name, reason="a test")
    assert course_of(scene, trial) == []
    with scene.platform.transactions(read_only=True) as work, pytest.raises(TrialNotFound):
        work[Trials].get(trial.id)


def test_a_model_that_is_deleted_while_its_alias_is_read_is_not_there(
    scene: Scene, model: Model, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    with scene.platform.transactions(read_only=True) as work:
        read = locate(work, model.name)
    delete_model(scene.platform, model=model.name, reason="a test")
    monkeypatch.setattr(run, "locate", lambda *_: read)
    with scene.platform.transactions(read_only=True) as work, pytest.raises(ModelNotFound):
        resolve_tried(work, model.name)
