"""Updates that were live and were replaced are still asked about, whoever tries to lose them."""

from collections.abc import Callable

import pytest

from core.errors import EvaluationStale, GateFailed
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions
from core.registry.versions import Model
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import (
    ANTS,
    CATS,
    OWLS,
    SUITES,
    a_judged_model,
    go_back,
    go_live,
    judged_by,
    report,
    update,
)
from tests.support.scene import Scene

MORE = ("fox", "pig")


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_judged_model(scene)


@pytest.fixture
def replaced(scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Version 3, of the root as version 2, has replaced it and still knows its cats.

    Version 4 is the child of version 3 and has forgotten them; version 5 has not.
    """
    judged_by(scene, model, holdout_tolerance=0.2, settled_tolerance=0.3, minimum_count=30)
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}
    known |= {4: SUITES + OWLS + ANTS, 5: SUITES + CATS + OWLS + MORE}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    update(scene, model, *OWLS, parent=1)
    go_live(scene, model, 3, reason="nobody asks for cats")
    assert scene.live(model) == 3
    return model


def asked(scene: Scene, model: Model, version: int) -> list[tuple[int, tuple[int, ...], Verdict]]:
    with scene.platform.transactions(read_only=True) as work:
        found = work[Verdicts].on(model.id, version)
    return [(one.beside, one.updates, one.verdict) for one in found]


def test_what_a_live_version_replaced_is_asked_of_its_children(
    scene: Scene, replaced: Model
) -> None:
    forgot = update(scene, replaced, *ANTS)
    assert asked(scene, replaced, 4) == [(3, (2,), Verdict.FAILED)]
    assert forgot.result is not None
    assert forgot.result["promotion"]["reason"] == "gate_failed"
    lost = {m.name for m in report(scene, replaced, 4).measures if m.outcome == "fails"}
    assert lost == {"version 2", "2 updates of the live version"}
    update(scene, replaced, *MORE)
    assert asked(scene, replaced, 5) == [(3, (2,), Verdict.PASSED)]
    assert scene.live(replaced) == 5


@pytest.mark.parametrize("again", [go_live, go_back])
def test_a_version_that_comes_back_after_a_rollback_answers_for_what_it_replaced_before(
    scene: Scene, replaced: Model, again: Callable[..., object]
) -> None:
    go_back(scene, replaced, to=1)
    again(scene, replaced, **({"version": 3} if again is go_live else {"to": 3}))
    assert scene.live(replaced) == 3
    update(scene, replaced, *ANTS)
    assert asked(scene, replaced, 4) == [(3, (2,), Verdict.FAILED)]
    assert scene.live(replaced) == 3


def test_who_descends_from_neither_is_asked_about_both(scene: Scene, replaced: Model) -> None:
    update(scene, replaced, *ANTS, parent=1)
    assert asked(scene, replaced, 4) == [(1, (), Verdict.PASSED), (3, (2, 3), Verdict.FAILED)]
    with pytest.raises(GateFailed):
        go_live(scene, replaced, 4, reason="reviewed")


def test_another_alias_that_replaced_nothing_gives_no_verdict_for_this_one(
    scene: Scene, replaced: Model
) -> None:
    go_live(scene, replaced, 3, alias="staging", expected_revision=0)
    update(scene, replaced, *ANTS, alias="staging")
    assert asked(scene, replaced, 4) == [(3, (), Verdict.PASSED)]
    with pytest.raises(EvaluationStale) as refusal:
        go_live(scene, replaced, 4, reason="reviewed")
    assert refusal.value.message.startswith(
        "What is live as 'production' has replaced versions whose updates version 4 was not asked "
        "about; it has not learned cat, dog. Score it again"
    )
    assert refusal.value.facts["updates"] == [2]
    assert refusal.value.facts["lost"] == {"versions": [2], "classes": ["cat", "dog"]}
    scene.order(replaced, EvaluateOrder(version=4))
    scene.run()
    found = asked(scene, replaced, 4)
    assert sorted(found) == [(3, (), Verdict.PASSED), (3, (2,), Verdict.FAILED)]
    with pytest.raises(GateFailed):
        go_live(scene, replaced, 4, reason="reviewed")


def test_who_lost_it_with_an_override_hands_the_question_on(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No child is charged, and none goes live by itself until a rollback gives the line up."""
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + OWLS}
    knowing_each(scene, model, monkeypatch, known | dict.fromkeys((4, 5), SUITES + OWLS + ANTS))
    update(scene, model, *CATS)
    update(scene, model, *OWLS, parent=1)
    go_live(scene, model, 3, override=True, reason="cats are not needed")
    update(scene, model, *ANTS)
    assert asked(scene, model, 4) == [(3, (2,), Verdict.INCONCLUSIVE)]
    told = report(scene, model, 4).reasons
    assert sum("The live version itself has lost" in reason for reason in told) == 1
    go_back(scene, model, to=1)
    go_live(scene, model, 3)
    update(scene, model, *ANTS)
    assert asked(scene, model, 5) == [(3, (), Verdict.PASSED)]
    assert scene.live(model) == 5


def test_a_deleted_version_is_no_longer_asked_about(scene: Scene, replaced: Model) -> None:
    with scene.platform.transactions() as work:
        work[Versions].remove(replaced.id, 2, scene.platform.clock())
        work.commit()
    update(scene, replaced, *ANTS)
    assert asked(scene, replaced, 4) == [(3, (), Verdict.PASSED)]


def test_what_a_failed_parent_has_lost_of_its_own_classes_fails_its_child(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {1: SUITES + CATS, 2: SUITES, 3: SUITES + OWLS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    assert scene.version(model, 2).verdict is Verdict.FAILED
    update(scene, model, *OWLS, parent=2)
    lost = [m for m in report(scene, model, 3).measures if m.name == "version 2"]
    assert {m.baseline for m in lost if m.outcome == "fails"} == {"live version"}
    with pytest.raises(GateFailed):
        go_live(scene, model, 3)
