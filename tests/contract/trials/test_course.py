"""The course of a trial is noted as its labels come, and goes with its model."""

import pytest

from core.errors import TrialNotFound
from core.registry.versions import Model
from core.trials.record import Batch, ShadowAnswer, label_predictions, record_predictions
from core.trials.rows import Trials
from core.trials.rules import CoursePoint, Shadowed, Trial
from core.upkeep.delete import delete_model
from tests.contract.trials.conftest import Start
from tests.support.factories import a_prediction
from tests.support.scene import Scene


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
    delete_model(scene.platform, model=model.name)
    assert course_of(scene, trial) == []
    with scene.platform.transactions(read_only=True) as work, pytest.raises(TrialNotFound):
        work[Trials].get(trial.id)
