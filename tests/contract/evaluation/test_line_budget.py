"""The error that a line's verdicts spend, version by version."""

import pytest

from core.datasets.rows import Datasets
from core.evaluation.report import BudgetUse, Report
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import JobStatus
from core.registry.configure import configure_model
from core.registry.versions import Model
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import (
    ANTS,
    CATS,
    OWLS,
    SUITES,
    a_judged_model,
    judged_by,
    report,
    update,
)
from tests.support.scene import Scene

KNOWN = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS, 4: SUITES + CATS + OWLS + ANTS}

LIMITS = {"line_error": 0.2, "line_updates": 10, "holdout_tolerance": 0.5, "settled_tolerance": 0.5}

SHARES = {k: 0.2 * 10 / ((9 + k) * (10 + k)) for k in (1, 2, 3)}


@pytest.fixture
def model(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model with a suite, and a budget of which ten verdicts spend half."""
    model = a_judged_model(scene)
    judged_by(scene, model, **LIMITS)
    knowing_each(scene, model, monkeypatch, KNOWN)
    return model


def use(scene: Scene, model: Model, version: int, name: str = "easy") -> BudgetUse:
    (found,) = [use for use in report(scene, model, version).budgets if use.name == name]
    return found


def levels(found: Report, name: str) -> set[float | None]:
    return {ruling.level for ruling in found.measures if ruling.name == name}


def test_each_promotion_spends_for_its_suites_and_holdouts_and_scoring_again_nothing(
    scene: Scene, model: Model
) -> None:
    update(scene, model, *CATS)
    before = report(scene, model, 2)
    scene.order(model, EvaluateOrder(version=2))
    assert scene.run().status is JobStatus.SUCCEEDED
    assert report(scene, model, 2).budgets == before.budgets
    update(scene, model, *OWLS)
    assert scene.live(model) == 3
    first, second = use(scene, model, 2), use(scene, model, 3)
    assert (first.verdicts, second.verdicts) == (1, 2)
    assert (first.level, second.level) == (pytest.approx(SHARES[1]), pytest.approx(SHARES[2]))
    assert (first.spent, second.spent) == (pytest.approx(0.2 / 11), pytest.approx(0.2 / 6))
    assert levels(report(scene, model, 3), "easy") == {second.level}
    update(scene, model, *ANTS)
    found = report(scene, model, 4)
    # Version 2 answered the holdout of version 3 too, as the parent that the gain is over.
    used = {use.name: use.verdicts for use in found.budgets}
    assert used == {"easy": 3, "version 2": 3, "version 3": 3, "2 updates": 3}
    assert levels(found, "version 4") == {None}  # the gain


def test_a_version_that_fails_spends_too(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, KNOWN | {2: CATS})
    update(scene, model, *CATS)
    update(scene, model, *OWLS)
    assert scene.version(model, 2).verdict is Verdict.FAILED
    assert scene.version(model, 3).parent == 1
    assert use(scene, model, 3).verdicts == 2


def test_new_images_start_a_budget_of_their_own_and_another_name_does_not(
    scene: Scene, model: Model
) -> None:
    for classes in (CATS, OWLS):
        update(scene, model, *classes)
    with scene.platform.transactions(read_only=True) as work:
        images = work[Datasets].version(work[Datasets].page(1, None)[0].id, 1)  # those of "easy"
    scene.suite(model, images, name="again")
    scene.suite(model, scene.frozen(*SUITES, each=30, offset=700), name="renewed")
    configure_model(scene.platform, model.name, suites=["again", "renewed"], policy=None)
    update(scene, model, *ANTS)
    assert use(scene, model, 4, "again").verdicts == 3
    assert use(scene, model, 4, "renewed").verdicts == 2  # the parent has answered it too


def test_another_models_versions_do_not_spend(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    update(scene, model, *CATS)
    other = scene.model("other")
    judged_by(scene, other, **LIMITS)
    configure_model(scene.platform, other.name, suites=["easy"], policy=None)
    knowing_each(scene, other, monkeypatch, KNOWN)
    update(scene, other, *OWLS)
    assert use(scene, other, 2).verdicts == 1


def test_holdouts_of_the_line_that_is_live_spend(scene: Scene, model: Model) -> None:
    for classes in (CATS, OWLS):
        update(scene, model, *classes)
    update(scene, model, *ANTS, parent=1)
    used = {use.name: use.verdicts for use in report(scene, model, 4).budgets}
    names = ("version 2", "version 3", "2 updates of the live version")
    assert used == {"easy": 3, **dict.fromkeys(names, 3)}
