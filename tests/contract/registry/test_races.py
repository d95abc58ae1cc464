"""Choices of suites and policies, and canaries, beside what somebody else does at once.

On PostgreSQL alone: SQLite's writers take turns.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete

from core.database.tables import answers
from core.datasets.version_rows import Suites
from core.errors import EvaluationStale, FieldInvalid
from core.gate.rules import Verdict
from core.jobs.orders import ConvertOrder, EvaluateOrder
from core.registry.alias_rows import Aliases
from core.registry.configure import add_suite, configure_model
from core.registry.evidence import grow_suite
from core.registry.promotable import require_canary
from core.registry.rows import Models
from core.registry.versions import Model, ServingPrecision
from core.trials.rows import Trials
from core.trials.rules import TrialMode
from core.trials.run import start_trial
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import (
    CATS,
    SUITES,
    a_judged_model,
    go_live,
    judged_by,
    update,
)
from tests.support.processes import wait_for
from tests.support.scene import Scene
from tests.support.storage.databases import waiting

pytestmark = pytest.mark.parametrize("url", ["postgresql"], indirect=True)

HARD = ("fox", "pig")

LATE_S = 60


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_judged_model(scene)


def before(
    monkeypatch: pytest.MonkeyPatch, kind: type, name: str, other: Callable[[], object]
) -> None:
    """Let somebody else's request end right before one that is about to call a method."""
    method, done = getattr(kind, name), list[bool]()

    def called(*args: Any, **named: Any) -> Any:
        if not done:
            done.append(True)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(other).result(LATE_S)
        return method(*args, **named)

    monkeypatch.setattr(kind, name, called)


def choose(scene: Scene, model: Model, **chosen: Any) -> None:
    configure_model(scene.platform, model.name, **{"suites": None, "policy": None, **chosen})


def test_a_policy_that_is_chosen_again_undoes_no_stricter_one(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To send the policy in force takes no reason; by the time that counts, it is another."""
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: ("hat", *CATS)})
    judged_by(scene, model, name="loose", parent_tolerance=1.0, root_tolerance=1.0)
    update(scene, model, *CATS, auto_promote=False)
    assert scene.version(model, 2).verdict is Verdict.PASSED
    before(monkeypatch, Models, "hold", lambda: judged_by(scene, model, name="strict"))
    with pytest.raises(FieldInvalid, match="reason"):
        choose(scene, model, policy="loose")
    with pytest.raises(EvaluationStale):
        go_live(scene, model, 2)


def test_a_promotion_is_decided_by_the_policy_that_its_move_names(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy chosen meanwhile waits, or is the one that decides: no pass counts as one by it."""
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: ("hat", *CATS)})
    judged_by(scene, model, name="loose", parent_tolerance=1.0, root_tolerance=1.0)
    update(scene, model, *CATS, auto_promote=False)
    before(monkeypatch, Models, "hold", lambda: judged_by(scene, model, name="strict"))
    with pytest.raises(EvaluationStale):
        go_live(scene, model, 2)
    with scene.platform.transactions(read_only=True) as work:
        moves = work[Aliases].history(model.id, "production")
        assert [one.to_version for one in moves] == [1]


def test_suites_that_are_chosen_again_take_away_none_that_was_added(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, {1: SUITES + HARD, 2: SUITES + CATS})
    update(scene, model, *CATS, auto_promote=False)
    scene.suite(model, scene.frozen(*HARD, each=30, offset=700), name="hard")
    choose(scene, model, suites=["easy"], reason="set up")
    before(monkeypatch, Suites, "chosen", lambda: choose(scene, model, suites=["easy", "hard"]))
    with pytest.raises(FieldInvalid, match="reason"):
        choose(scene, model, suites=["easy"])
    with pytest.raises(EvaluationStale):
        go_live(scene, model, 2)


def test_a_suite_that_an_import_adds_leaves_the_others_at_their_newest_edition(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard = scene.suite(model, scene.frozen(*HARD, each=30, offset=700), name="hard")
    choose(scene, model, suites=["easy"], reason="set up")
    more = scene.frozen("hat", each=10, offset=900)

    def grow() -> None:
        of = {"dataset": more.dataset, "dataset_version": more.number}
        grow_suite(scene.platform, suite="easy", reason="a test", **of)

    before(monkeypatch, Models, "hold", grow)
    with scene.platform.transactions() as work:
        work[Models].lock_all()
        add_suite(work, model.id, hard.id, actor="job 1", now=scene.platform.clock())
        work.commit()
    with scene.platform.transactions(read_only=True) as work:
        newest = work[Suites].newest("easy")
        assert newest.edition == 2
        assert work[Models].get(model.id).suites == (newest.id, hard.id)


def test_a_canary_of_what_has_just_failed_in_another_form_ends(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 3 is version 2 in bf16; version 2 is judged while the canary starts."""
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS, auto_promote=False)
    order = ConvertOrder(
        precision=ServingPrecision.BF16, parent=2, alias="production", auto_promote=False
    )
    scene.order(model, order)
    scene.run()
    knowing_each(scene, model, monkeypatch, known | {2: CATS})
    with scene.platform.transactions() as work:
        work.connection.execute(delete(answers))  # else they are not asked for again
        work.commit()
    scene.order(model, EvaluateOrder(version=2))
    allowed = require_canary
    with ThreadPoolExecutor(1) as pool:

        def while_judged(*args: Any, **named: Any) -> None:
            allowed(*args, **named)
            judged.append(pool.submit(scene.run))
            wait_for(
                lambda: judged[0].done() or waiting(scene.platform.transactions), seconds=LATE_S
            )

        judged = list[Any]()
        monkeypatch.setattr("core.trials.run.require_canary", while_judged)
        start_trial(
            scene.platform,
            model=model.name,
            alias="production",
            candidate=3,
            mode=TrialMode.CANARY,
            share=0.5,
            expected_revision=1,
            reason="",
        )
        assert judged[0].result(LATE_S).result["verdict"] == "failed"
    with scene.platform.transactions(read_only=True) as work:
        assert work[Trials].running(model.id) == []
