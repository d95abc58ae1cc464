"""A verdict lets a version go live if it is about what is in force, and about what is live."""

import pytest

from core.errors import AliasNotFound, EvaluationStale, GateFailed
from core.evaluation.order import order_evaluation
from core.gate.measures import MeasureKind
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder
from core.jobs.queue import JobRequest
from core.jobs.rules import Job, JobStatus
from core.registry.alias_rows import Aliases
from core.registry.configure import configure_model
from core.registry.versions import Model
from core.values import Json
from tests.support.evaluation.judged import (
    ANTS,
    CATS,
    OWLS,
    SUITES,
    a_judged_model,
    against,
    go_back,
    go_live,
    judged_by,
    knowing,
    report,
    update,
)
from tests.support.factories import TESTER
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_judged_model(scene)


def promotion(job: Job) -> Json:
    assert job.result is not None
    found: Json = job.result["promotion"]
    return found


# ---- What is live ---------------------------------------------------------------------------


def test_update_beside_the_live_version_is_compared_with_it_and_asked_what_it_has_learned(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS, 3: SUITES + OWLS})
    update(scene, model, *CATS)
    assert scene.live(model) == 2
    update(scene, model, *OWLS, parent=1)
    found = report(scene, model, 3)
    assert (found.live, found.live_digest) == (2, scene.version(model, 2).digest)
    suite, holdout = against(found, "live version")
    assert (suite.kind, suite.name) == (MeasureKind.ZERO_SHOT, "easy")
    assert (holdout.kind, holdout.name) == (MeasureKind.HOLDOUT, "version 2")
    assert (holdout.right_before, holdout.right, holdout.baseline_version) == (holdout.count, 0, 2)
    assert found.verdict is Verdict.FAILED
    assert [score.role for score in found.scores] == ["candidate", "parent", "root", "live"]


def test_version_that_was_not_compared_with_what_is_live_does_not_replace_it(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + OWLS + CATS}
    knowing(scene, model, monkeypatch, known)
    update(scene, model, *CATS, auto_promote=False)
    update(scene, model, *OWLS, parent=1, auto_promote=False)
    go_live(scene, model, 2)
    with pytest.raises(EvaluationStale) as refusal:
        go_live(scene, model, 3, reason="owls")
    assert refusal.value.facts["lost"] == {"versions": [2], "classes": ["cat", "dog"]}
    scene.order(model, EvaluateOrder(version=3))
    assert scene.run().status is JobStatus.SUCCEEDED
    go_live(scene, model, 3)
    assert scene.live(model) == 3


def test_class_that_a_version_has_learned_in_other_capitals_would_not_be_lost(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS, 3: (*SUITES, "Cat", "owl")})
    update(scene, model, *CATS, auto_promote=False)
    update(scene, model, "Cat", "owl", parent=1, auto_promote=False)
    go_live(scene, model, 2)
    with pytest.raises(EvaluationStale) as refusal:
        go_live(scene, model, 3)
    assert refusal.value.facts["lost"] == {"versions": [2], "classes": ["dog"]}


def test_override_that_gives_up_what_is_live_stays_visible(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS, 3: SUITES + OWLS})
    update(scene, model, *CATS, auto_promote=False)
    update(scene, model, *OWLS, parent=1, auto_promote=False)
    go_live(scene, model, 2, override=True, reason="not needed")
    go_live(scene, model, 3, override=True, reason="cats are not needed any more")
    with scene.platform.transactions(read_only=True) as work:
        history = work[Aliases].history(model.id, "production")
        assert [row.override for row in history] == [False, False, True]
        assert work[Aliases].overridden(model.id) == {3}


def test_other_aliases_live_version_is_compared_with_when_it_is_named(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS})
    update(scene, model, *CATS, auto_promote=False)
    update(scene, model, *OWLS, parent=1, auto_promote=False)
    go_live(scene, model, 2, alias="staging", expected_revision=0)
    with pytest.raises(EvaluationStale):
        go_live(scene, model, 3, alias="staging")
    scene.order(model, EvaluateOrder(version=3, alias="staging"))
    scene.run()
    assert report(scene, model, 3).live == 2
    go_live(scene, model, 3, alias="staging")


def test_scoring_for_an_alias_that_is_not_there_is_refused(scene: Scene, model: Model) -> None:
    update(scene, model, *CATS)
    with pytest.raises(AliasNotFound):
        order_evaluation(
            scene.platform,
            SilentNotifier(),
            JobRequest(principal=TESTER),
            model=model.name,
            version=2,
            alias="stagign",
        )


def test_version_that_descends_from_what_is_live_is_not_compared_with_it_again(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}
    knowing(scene, model, monkeypatch, line | {4: SUITES + CATS + OWLS + ANTS})
    update(scene, model, *CATS)
    update(scene, model, *OWLS, auto_promote=False)
    update(scene, model, *ANTS, parent=3, auto_promote=False)
    assert report(scene, model, 4).live is None
    go_live(scene, model, 4)
    assert scene.live(model) == 4


def test_version_that_the_live_one_descends_from_is_not_compared_with_it_but_rolled_back_to(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}
    knowing(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    update(scene, model, *OWLS)
    scene.order(model, EvaluateOrder(version=2))
    scene.run()
    found = report(scene, model, 2)
    assert (found.live, found.verdict) == (None, Verdict.PASSED)
    with pytest.raises(EvaluationStale, match="roll back") as refusal:
        go_live(scene, model, 2, reason="without owls")
    assert refusal.value.facts["lost"] == {"versions": [3], "classes": ["elk", "owl"]}
    assert "score_again" not in refusal.value.facts
    assert go_back(scene, model) == 2


# ---- What is in force -----------------------------------------------------------------------


def test_suite_that_is_dropped_while_an_update_trains_judges_it(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard = ("fox", "pig")
    scene.suite(model, scene.frozen(*hard, each=30, offset=700), name="hard")
    knowing(scene, model, monkeypatch, {1: SUITES + hard, 2: SUITES + CATS})
    scene.script.training = lambda monitor: configure_model(
        scene.platform, model.name, suites=["easy"], policy=None
    )
    ended = update(scene, model, *CATS)
    assert promotion(ended) == {"alias": "production", "moved": False, "reason": "gate_failed"}
    assert sorted(report(scene, model, 2).suites.values()) == ["easy", "hard"]
    assert scene.live(model) == 1


def test_policy_that_is_chosen_while_an_update_trains_does_not_judge_it(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(scene, model, monkeypatch, {1: SUITES, 2: CATS})
    judged_by(scene, model, name="strict")
    scene.script.training = lambda monitor: judged_by(
        scene, model, parent_tolerance=1.0, root_tolerance=1.0
    )
    ended = update(scene, model, *CATS)
    assert promotion(ended)["reason"] == "gate_failed"
    assert report(scene, model, 2).policy["name"] == "strict"


def test_update_whose_suites_or_policy_have_changed_meanwhile_does_not_go_live_by_itself(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS, 3: SUITES + OWLS})
    scene.script.training = lambda monitor: judged_by(scene, model, name="newer")
    told = {"alias": "production", "moved": False, "reason": "evaluation_stale"}
    assert promotion(update(scene, model, *CATS)) == told | {"policy": "newer"}
    more = scene.frozen("fox", "pig", each=30, offset=700)
    scene.script.training = lambda monitor: scene.suite(model, more, name="hard")
    assert promotion(update(scene, model, *OWLS)) == told | {"suites": ["hard"]}
    assert scene.live(model) == 1


def test_update_that_was_not_to_go_live_by_itself_says_so(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS})
    ended = update(scene, model, *CATS, auto_promote=False)
    told = {"alias": "production", "moved": False, "reason": "not_asked_for"}
    assert promotion(ended) == told
    assert scene.live(model) == 1


def test_suite_that_was_added_after_scoring_is_asked_before_promotion(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard = ("fox", "pig")
    knowing(scene, model, monkeypatch, {1: SUITES + hard, 2: SUITES + CATS})
    update(scene, model, *CATS, auto_promote=False)
    scene.suite(model, scene.frozen(*hard, each=30, offset=700), name="hard")
    with pytest.raises(EvaluationStale) as refusal:
        go_live(scene, model, 2, reason="please")
    assert refusal.value.facts["suites"] == ["hard"]
    assert "hard" in refusal.value.message
    scene.order(model, EvaluateOrder(version=2))
    scene.run()
    with pytest.raises(GateFailed):
        go_live(scene, model, 2, reason="please")


def test_suite_that_was_dropped_after_scoring_asks_for_no_new_score(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS})
    update(scene, model, *CATS, auto_promote=False)
    configure_model(scene.platform, model.name, suites=[], policy=None)
    go_live(scene, model, 2)


def test_policy_that_has_changed_after_scoring_asks_for_a_new_verdict(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS})
    update(scene, model, *CATS, auto_promote=False)
    judged_by(scene, model, name="newer")
    with pytest.raises(EvaluationStale, match="'newer'"):
        go_live(scene, model, 2)
    go_live(scene, model, 2, override=True, reason="the old verdict will do")


def test_report_that_is_gone_lets_nothing_go_live(
    scene: Scene, model: Model, artifacts: MemoryArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS})
    update(scene, model, *CATS, auto_promote=False)
    stored = scene.version(model, 2).report
    assert stored is not None
    artifacts.delete(stored)
    with pytest.raises(EvaluationStale, match="report of version 2 is gone or damaged"):
        go_live(scene, model, 2)
