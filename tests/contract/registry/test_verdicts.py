"""A verdict counts for what it covers, and no other evaluation takes it away."""

from dataclasses import replace
from typing import Any

import pytest

from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.errors import EvaluationPending, EvaluationStale, Forbidden, GateFailed
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import Job, JobStatus
from core.principal import Principal, Role
from core.registry.alias_rows import Aliases
from core.registry.configure import configure_model
from core.registry.promote import promote
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions
from core.registry.versions import Model, VersionStatus
from core.trials.rows import Trials
from core.trials.rules import Trial, TrialEnd, TrialMode
from core.trials.run import end_failed_canaries, start_trial
from core.upkeep.delete import delete_alias, delete_model
from tests.support.api.seeds import a_candidate, a_verdict
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
    update,
)
from tests.support.factories import NOW, an_origin
from tests.support.scene import Scene

PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE

HARD = ("fox", "pig")

OPERATOR = Principal(name="an operator", role=Role.OPERATOR)


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_judged_model(scene)


def verdicts(scene: Scene, model: Model, version: int) -> dict[int, Verdict]:
    """The verdicts on a version that cover what is in force, by the version beside which."""
    with scene.platform.transactions(read_only=True) as work:
        now = work[Models].get(model.id)
        found = work[Verdicts].on(model.id, version)
    return {one.beside: one.verdict for one in found if one.covers(now)}


def evaluate(scene: Scene, model: Model, version: int, alias: str = "production") -> Job:
    scene.order(model, EvaluateOrder(version=version, alias=alias))
    ended = scene.run()
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    return ended


def canary(
    scene: Scene, model: Model, version: int, reason: str = "", alias: str = "production"
) -> Trial:
    with scene.platform.transactions(read_only=True) as work:
        revision = work[Aliases].get(model.id, alias).revision
    return start_trial(
        scene.platform,
        model=model.name,
        alias=alias,
        candidate=version,
        mode=TrialMode.CANARY,
        share=0.5,
        expected_revision=revision,
        reason=reason,
    )


@pytest.fixture
def siblings(scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Version 2 is live; version 3, of the root too, has not learned its cats and fails beside it.

    An alias `staging` points at the root.
    """
    known = {1: SUITES + HARD, 2: SUITES + HARD + CATS, 3: SUITES + OWLS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    update(scene, model, *OWLS, parent=1)
    go_live(scene, model, 1, alias="staging", expected_revision=0)
    assert scene.live(model) == 2
    return model


# ---- Beside which version -------------------------------------------------------------------


def test_an_evaluation_judges_beside_the_parent_and_beside_what_is_live(
    scene: Scene, siblings: Model
) -> None:
    with scene.platform.transactions(read_only=True) as work:
        beside_parent, beside_live = work[Verdicts].on(siblings.id, 3)
    assert (beside_parent.beside, beside_parent.verdict) == (1, PASSED)
    assert (beside_live.beside, beside_live.verdict) == (2, FAILED)
    assert beside_parent.report == beside_live.report == scene.version(siblings, 3).report
    report = scene.report(scene.version(siblings, 3))
    assert beside_live.images == sum(report["images"].values())
    assert beside_live.images - beside_parent.images == report["images"]["version 2"]
    assert verdicts(scene, siblings, 2) == {1: PASSED}


def test_a_version_that_failed_beside_what_is_live_does_not_pass_there_by_way_of_another_alias(
    scene: Scene, siblings: Model
) -> None:
    ended = evaluate(scene, siblings, 3, "staging")
    assert ended.result["verdict"] == "passed"
    found = scene.version(siblings, 3)
    assert (found.verdict, found.status) == (FAILED, VersionStatus.REJECTED)
    for reason in ("", "reviewed"):
        with pytest.raises(GateFailed, match="beside version 2 is 'failed'"):
            go_live(scene, siblings, 3, reason=reason)
        with pytest.raises(GateFailed, match="try it as a shadow"):
            canary(scene, siblings, 3, reason)
    with pytest.raises(Forbidden):
        promote(
            scene.platform,
            OPERATOR,
            model=siblings.name,
            alias="production",
            version=3,
            expected_revision=None,
            reason="cats are not needed",
            override=True,
        )
    assert scene.live(siblings) == 2
    go_live(scene, siblings, 3, alias="staging")  # there it replaces the root


def test_an_operator_overrides_no_failure_where_another_version_is_live(
    scene: Scene, siblings: Model
) -> None:
    a_candidate(scene.platform, siblings, verdict=PASSED)
    go_live(scene, siblings, 4, override=True, reason="another line")
    given = {"model": siblings.name, "alias": "production", "version": 3, "reason": "now?"}
    with pytest.raises(EvaluationStale):
        promote(scene.platform, OPERATOR, expected_revision=None, override=False, **given)
    with pytest.raises(Forbidden):
        promote(scene.platform, OPERATOR, expected_revision=None, override=True, **given)


def test_a_loss_does_not_go_live_by_a_child_that_learns_nothing(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(scene, model, root_tolerance=1.0, union_tolerance=1.0)
    known = {1: SUITES, 2: SUITES + CATS, 3: CATS + OWLS, 4: CATS + OWLS + ANTS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    update(scene, model, *OWLS)
    update(scene, model, *ANTS, parent=3)
    assert scene.live(model) == 2
    assert verdicts(scene, model, 3) == {2: FAILED}
    assert verdicts(scene, model, 4) == {3: PASSED, 2: FAILED}
    with pytest.raises(GateFailed):
        go_live(scene, model, 4, reason="reviewed")
    go_live(scene, model, 3, override=True, reason="the suite is not needed")
    go_live(scene, model, 4)


def test_an_alias_that_is_deleted_and_made_again_asks_what_the_parent_allows(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS, 3: OWLS})
    update(scene, model, *CATS)
    update(scene, model, *OWLS, parent=1)
    delete_alias(
        scene.platform, model=model.name, alias="production", expected_revision=2, reason="a test"
    )
    with pytest.raises(GateFailed, match="beside version 1 is 'failed'"):
        go_live(scene, model, 3, reason="reviewed", expected_revision=0)


# ---- Under which policy, by which suites ----------------------------------------------------


def test_a_looser_policy_takes_no_failure_back_once_the_stricter_one_is_in_force_again(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: ("hat", *CATS)})
    strict = judged_by(scene, model, name="strict", parent_tolerance=0.1, root_tolerance=0.1)
    update(scene, model, *CATS)
    loose = judged_by(scene, model, name="loose", parent_tolerance=1.0, root_tolerance=1.0)
    evaluate(scene, model, 2)
    assert scene.version(model, 2).verdict is PASSED
    configure_model(scene.platform, model.name, suites=None, policy=strict, reason="a test")
    with pytest.raises(GateFailed):
        go_live(scene, model, 2, reason="it passed")
    assert evaluate(scene, model, 2).result["verdict"] == "failed"
    configure_model(scene.platform, model.name, suites=None, policy=loose, reason="a test")
    go_live(scene, model, 2)


def test_a_choice_of_fewer_suites_takes_no_failure_back(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, {1: SUITES + HARD, 2: SUITES + CATS})
    scene.suite(model, scene.frozen(*HARD, each=30, offset=700), name="hard")
    update(scene, model, *CATS)
    configure_model(scene.platform, model.name, suites=["easy"], policy=None, reason="a test")
    assert evaluate(scene, model, 2).result["verdict"] == "passed"
    with pytest.raises(GateFailed):  # it passed on the one, but is known to have failed on both
        go_live(scene, model, 2, reason="it passed")
    configure_model(
        scene.platform, model.name, suites=["easy", "hard"], policy=None, reason="a test"
    )
    with pytest.raises(GateFailed):
        go_live(scene, model, 2, reason="it passed")


def test_two_evaluations_at_once_leave_the_verdict_of_each(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: ("hat", *CATS)})
    update(scene, model, *CATS)
    judged_by(scene, model, name="strict", parent_tolerance=0.1, root_tolerance=0.1)
    scene.order(model, EvaluateOrder(version=2, alias="production"))
    judged_by(scene, model, name="loose", parent_tolerance=1.0, root_tolerance=1.0)
    scene.order(model, EvaluateOrder(version=2, alias="production"))
    found = [scene.run().result["verdict"] for _ in range(2)]
    assert found == ["failed", "passed"]
    for policy, refused in (("loose", False), ("strict", True)):
        configure_model(scene.platform, model.name, suites=None, policy=policy, reason="a test")
        assert verdicts(scene, model, 2) == {1: FAILED if refused else PASSED}


# ---- Rows -----------------------------------------------------------------------------------


def test_a_verdict_gives_way_to_one_on_more_images_or_on_as_many_if_that_is_no_better(
    scene: Scene,
) -> None:
    model = scene.model()
    version = a_candidate(scene.platform, model, verdict=FAILED)
    with scene.platform.transactions() as work:
        (first,) = work[Verdicts].on(model.id, 2)
        for images, verdict, left in (
            (99, PASSED, (100, FAILED)),
            (100, PASSED, (100, FAILED)),
            (101, PASSED, (101, PASSED)),
            (100, INCONCLUSIVE, (101, PASSED)),
            (100, FAILED, (100, FAILED)),  # as after an erasure
            (101, INCONCLUSIVE, (101, INCONCLUSIVE)),
            (101, PASSED, (101, INCONCLUSIVE)),
        ):
            work[Verdicts].add(replace(first, images=images, verdict=verdict))
            (found,) = work[Verdicts].on(model.id, version.number)
            assert (found.images, found.verdict) == left
        others = [replace(first, beside=9), replace(first, suites=("suite_1",))]
        for other in others:
            work[Verdicts].add(replace(other, images=1))
        assert len(work[Verdicts].on(model.id, 2)) == 3
        work.commit()
    delete_model(scene.platform, model=model.name, reason="a test")
    with scene.platform.transactions(read_only=True) as work:
        assert work[Verdicts].on(model.id, 2) == []


def test_what_was_imported_with_a_verdict_of_another_service_is_not_judged(scene: Scene) -> None:
    model = scene.model()
    a_candidate(scene.platform, model)  # as an import leaves it
    with pytest.raises(EvaluationPending):
        go_live(scene, model, 2, override=True, reason="it passed there")


# ---- Going back -----------------------------------------------------------------------------


def test_scoring_a_version_beside_what_replaced_it_does_not_take_the_way_back(
    scene: Scene, siblings: Model
) -> None:
    go_live(scene, siblings, 3, override=True, reason="cats are not needed")
    assert evaluate(scene, siblings, 2).result["verdict"] == "failed"  # it knows no owls
    assert verdicts(scene, siblings, 2) == {1: PASSED, 3: FAILED}
    assert go_back(scene, siblings) == 2


def test_a_version_that_fails_beside_its_own_parent_is_not_gone_back_to(
    scene: Scene, siblings: Model
) -> None:
    a_candidate(scene.platform, siblings, verdict=PASSED, parent=2)
    go_live(scene, siblings, 4)
    with scene.platform.transactions() as work:
        judged = work[Versions].get(siblings.id, 2)
        a_verdict(scene.platform, work, judged, FAILED, images=10_000)
        work.commit()
    with pytest.raises(GateFailed, match="beside version 1 is 'failed'"):
        go_back(scene, siblings, to=2)
    assert go_back(scene, siblings) == 1


def test_a_failure_counts_for_all_versions_with_its_weights(scene: Scene, model: Model) -> None:
    """The same update once more has them, and may have failed by one more suite."""
    for number in (2, 3):
        a_candidate(scene.platform, model, verdict=PASSED, weights_of=number)
    go_live(scene, model, 2)
    go_live(scene, model, 3, override=True, reason="another line")
    go_live(scene, model, 1, alias="staging", expected_revision=0)
    trial = canary(scene, model, 2, alias="staging")
    twin = a_candidate(scene.platform, model, verdict=FAILED, weights_of=2)
    assert twin.digest == scene.version(model, 2).digest
    with scene.platform.transactions() as work:
        end_failed_canaries(work, twin, actor="a test", now=NOW)
        assert work[Trials].get(trial.id).end is TrialEnd.FAILED
        work.commit()
    with pytest.raises(GateFailed, match="version 4 beside version 1 is 'failed'"):
        go_live(scene, model, 2, alias="staging")
    with pytest.raises(GateFailed, match="version 4 beside version 1 is 'failed'"):
        go_back(scene, model, to=2)


# ---- Canaries -------------------------------------------------------------------------------


def test_a_root_is_no_canary_beside_what_descends_from_it(scene: Scene, siblings: Model) -> None:
    with pytest.raises(EvaluationStale, match="roll back, or try it as a shadow"):
        canary(scene, siblings, 1, "a look")


def test_a_canary_ends_as_its_version_fails_and_not_by_a_change_of_policy_or_suites(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, {1: SUITES + HARD, 2: SUITES + CATS})
    update(scene, model, *CATS, auto_promote=False)
    trial = canary(scene, model, 2)
    scene.suite(model, scene.frozen(*HARD, each=30, offset=700), name="hard")
    with scene.platform.transactions(read_only=True) as work:
        assert work[Trials].get(trial.id).end is None
    go_live(scene, model, 1, alias="staging", expected_revision=0)
    job = evaluate(scene, model, 2, "staging")
    with scene.platform.transactions(read_only=True) as work:
        ended = work[Trials].get(trial.id)
        assert (ended.end, ended.ended_by) == (TrialEnd.FAILED, f"job {job.id}")
        assert work[Trials].running(model.id) == []
        (event,) = work[AuditTrail].page(9, None, AuditFilter(action=Action.TRIAL_ENDED))
        given = (event.change.actor, event.change.after)
        assert given == (f"job {job.id}", {"end": "failed"})
    with pytest.raises(GateFailed):
        canary(scene, model, 2, "again")


def test_a_canary_whose_verdict_is_stale_does_not_begin(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS})
    update(scene, model, *CATS, auto_promote=False)
    judged_by(scene, model, name="newer")
    with pytest.raises(EvaluationStale, match="'newer'"):
        canary(scene, model, 2, "a look")
    evaluate(scene, model, 2)
    assert canary(scene, model, 2).candidate == 2


# ---- An alias where nothing is live ------------------------------------------------------------


def created(scene: Scene, model: Model, version: int, **changes: Any) -> None:
    go_live(scene, model, version, alias="fresh", expected_revision=0, **changes)


def test_a_loss_does_not_go_live_under_a_new_alias_by_a_child_that_learns_nothing(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 3 failed for the suite; its child is compared with it alone, and keeps what it has.

    An override elsewhere has let version 3 go live, which proves nothing.
    """
    judged_by(scene, model, root_tolerance=1.0, union_tolerance=1.0)
    known = {1: SUITES, 2: SUITES + CATS, 3: CATS + OWLS, 4: CATS + OWLS + ANTS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    update(scene, model, *OWLS, auto_promote=False)
    go_live(scene, model, 3, override=True, reason="the suite is not needed here")
    update(scene, model, *ANTS, parent=3, auto_promote=False)
    assert (verdicts(scene, model, 3), verdicts(scene, model, 4)[3]) == ({2: FAILED}, PASSED)
    with pytest.raises(GateFailed, match="No passing verdict has let version 3 go live") as refusal:
        created(scene, model, 4, reason="reviewed")
    assert (refusal.value.facts["version"], refusal.value.facts["verdict"]) == (3, "failed")
    with scene.platform.transactions(read_only=True) as work:
        assert work[Aliases].find(model.id, "fresh") is None
    created(scene, model, 4, override=True, reason="nor here")
    with scene.platform.transactions(read_only=True) as work:
        (row,) = work[Aliases].history(model.id, "fresh")
        assert (row.override, row.verdict) == (True, FAILED)
        assert 4 not in {number for number, _ in work[Aliases].passed(model.id)}


@pytest.mark.parametrize("between", [False, True], ids=["child", "grandchild"])
def test_what_was_imported_and_has_not_gone_live_counts_for_what_is_taught_after_it(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch, between: bool
) -> None:
    """Elsewhere it may have been taught the images of suites here, and descendants keep that."""
    each = (SUITES, CATS, OWLS, ANTS, HARD, ("sun",))
    knowing_each(scene, model, monkeypatch, {n: sum(each[:n], ()) for n in range(1, 7)})
    update(scene, model, *CATS)
    a_candidate(
        scene.platform, model, parent=2, teaches=OWLS, origin=an_origin(), verdict=INCONCLUSIVE
    )
    last = 3
    for classes in (ANTS, HARD) if between else (ANTS,):
        update(scene, model, *classes, parent=last)
        last += 1
    assert (scene.version(model, last).verdict, scene.live(model)) == (PASSED, 2)
    with pytest.raises(GateFailed, match="descends from version 3, which was imported") as no:
        go_live(scene, model, last)
    assert no.value.facts["version"] == 3
    go_live(scene, model, last, reason="whoever trained it has none of the suites' images")
    update(scene, model, *each[last], parent=last)
    assert scene.live(model) == last + 1


def test_under_a_new_alias_the_child_of_an_undecided_version_takes_a_reason(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: SUITES, 3: SUITES + OWLS})
    a_candidate(scene.platform, model, verdict=INCONCLUSIVE)
    update(scene, model, *OWLS, parent=2, auto_promote=False)
    assert verdicts(scene, model, 3)[2] is PASSED
    with pytest.raises(GateFailed, match="No passing verdict has let version 2 go live"):
        created(scene, model, 3)
    created(scene, model, 3, reason="reviewed")
    with scene.platform.transactions(read_only=True) as work:
        assert work[Aliases].history(model.id, "fresh")[0].verdict is INCONCLUSIVE


def test_under_a_new_alias_what_passed_by_a_looser_policy_alone_takes_a_reason(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    judged_by(scene, model, name="strict", holdout_tolerance=0.04)
    update(scene, model, *OWLS, auto_promote=False)
    with pytest.raises(GateFailed, match="nor judged it by one"):
        created(scene, model, 3)
    created(scene, model, 3, reason="reviewed")


def test_under_a_new_alias_a_line_that_went_live_by_passing_goes_on_without_a_reason(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    update(scene, model, *OWLS, auto_promote=False)
    created(scene, model, 3)


def test_an_operator_does_not_override_a_failed_ancestor_under_a_new_alias(
    scene: Scene, model: Model
) -> None:
    a_candidate(scene.platform, model, verdict=FAILED)
    a_candidate(scene.platform, model, verdict=PASSED, parent=2)
    given = {"model": model.name, "alias": "fresh", "version": 3, "reason": "please"}
    with pytest.raises(Forbidden):
        promote(scene.platform, OPERATOR, expected_revision=0, override=True, **given)
