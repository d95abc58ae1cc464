"""A verdict lets a version go live if it is about what is in force, and about what is live."""

import pytest

from core.errors import EvaluationStale, GateFailed, StalePreview
from core.gate.kinds import MeasureKind
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import Job, JobStatus, Monitor
from core.registry.alias_rows import Aliases
from core.registry.configure import configure_model
from core.registry.promote import PromotionPreview, preview_promotion
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.values import Json
from tests.support.api.seeds import a_candidate, a_verdict
from tests.support.evaluation.each_class import knowing_each
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
    report,
    update,
)
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_judged_model(scene)


def promotion(job: Job) -> Json:
    assert job.result is not None
    found: Json = job.result["promotion"]
    return found


def preview(scene: Scene, model: Model, version: int) -> PromotionPreview:
    with scene.platform.transactions(read_only=True) as work:
        return preview_promotion(work, work[Versions].get(model.id, version), "production")


# ---- What is live ---------------------------------------------------------------------------


def test_update_beside_the_live_version_is_compared_with_it_and_asked_what_it_has_learned(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS, 3: SUITES + OWLS})
    update(scene, model, *CATS)
    assert scene.live(model) == 2
    update(scene, model, *OWLS, parent=1)
    found = report(scene, model, 3)
    assert (found.live, found.live_digest) == (2, scene.version(model, 2).digest)
    (suite, own), (holdout,) = (
        against(found, name) for name in ("live version", "live version and settled version")
    )
    assert (suite.kind, suite.name) == (MeasureKind.ZERO_SHOT, "easy")
    assert (own.kind, own.name, own.pooled) == (MeasureKind.HOLDOUT, "version 3", True)
    assert (holdout.kind, holdout.name) == (MeasureKind.HOLDOUT, "version 2")
    assert (holdout.right_before, holdout.right, holdout.baseline_version) == (holdout.count, 0, 2)
    assert found.verdict is Verdict.FAILED
    assert [score.role for score in found.scores] == ["candidate", "parent", "root", "live"]


def test_version_that_was_not_compared_with_what_is_live_replaces_it_by_override_alone(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {1: SUITES, 2: SUITES + CATS, 3: (*SUITES, *CATS, "Cat", "owl")}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS, auto_promote=False)
    update(scene, model, "Cat", "owl", parent=1, auto_promote=False)
    go_live(scene, model, 2, override=True, reason="it takes none")
    go_live(scene, model, 2, alias="staging", expected_revision=0)
    for alias in ("production", "staging"):
        with pytest.raises(EvaluationStale) as refusal:
            go_live(scene, model, 3, alias=alias, reason="owls")
        # cats are not lost: it has learned them in other capitals
        assert refusal.value.facts["lost"] == {"versions": [2], "classes": ["dog"]}
    go_live(scene, model, 3, override=True, reason="dogs are not needed any more")
    with scene.platform.transactions(read_only=True) as work:
        history = work[Aliases].history(model.id, "production")
        assert [row.override for row in history] == [False, False, True]
        assert work[Aliases].overridden(model.id) == {3}
    scene.order(model, EvaluateOrder(version=3, alias="staging"))
    assert scene.run().status is JobStatus.SUCCEEDED
    assert report(scene, model, 3).live == 2
    go_live(scene, model, 3, alias="staging", reason="nobody asks for dogs")


def test_version_that_takes_classes_from_callers_who_send_none_goes_live_with_a_reason(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still knows them, so that the gate passes it, but it was not taught them."""
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS, 4: SUITES + CATS + OWLS + ANTS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    ended = update(scene, model, *OWLS, parent=1)
    assert (promotion(ended)["moved"], scene.live(model)) == (False, 2)
    assert scene.version(model, 3).verdict is Verdict.PASSED
    with pytest.raises(GateFailed, match="would get cat, dog no longer") as no:
        go_live(scene, model, 3)
    assert no.value.facts["lost"] == {"classes": ["cat", "dog"]}
    assert scene.live(model) == 2
    go_live(scene, model, 3, reason="nobody asks for cats")
    update(scene, model, *ANTS)  # of those on the list now it takes none
    assert scene.live(model) == 4


def test_version_that_descends_from_what_is_live_replaces_it_once_it_was_compared_with_it(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}
    knowing_each(scene, model, monkeypatch, line | {4: SUITES + CATS + OWLS + ANTS})
    update(scene, model, *CATS)
    update(scene, model, *OWLS, auto_promote=False)
    update(scene, model, *ANTS, parent=3, auto_promote=False)
    assert report(scene, model, 4).live == 2
    go_live(scene, model, 4)
    assert scene.live(model) == 4


def test_version_that_the_live_one_descends_from_is_not_compared_with_it_but_rolled_back_to(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}
    knowing_each(scene, model, monkeypatch, known)
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


def test_suites_and_policy_that_are_changed_while_an_update_trains_judge_it_no_less(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard = ("fox", "pig")
    scene.suite(model, scene.frozen(*hard, each=30, offset=700), name="hard")
    judged_by(scene, model, name="strict")
    knowing_each(scene, model, monkeypatch, {1: SUITES + hard, 2: CATS})

    def meanwhile(_: Monitor) -> None:
        judged_by(scene, model, parent_tolerance=1.0, root_tolerance=1.0)
        configure_model(scene.platform, model.name, suites=["easy"], policy=None, reason="a test")

    scene.script.training = meanwhile
    ended = update(scene, model, *CATS)
    assert promotion(ended) == {"alias": "production", "moved": False, "reason": "gate_failed"}
    found = report(scene, model, 2)
    assert (sorted(found.suites.values()), found.policy["name"]) == (["easy", "hard"], "strict")
    assert scene.live(model) == 1


def test_update_whose_suites_or_policy_have_changed_meanwhile_does_not_go_live_by_itself(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS, 3: SUITES + OWLS})
    scene.script.training = lambda monitor: judged_by(scene, model, name="newer")
    told = {"alias": "production", "moved": False, "reason": "evaluation_stale"}
    assert promotion(update(scene, model, *CATS)) == told | {"policy": "newer"}
    more = scene.frozen("fox", "pig", each=30, offset=700)
    scene.script.training = lambda monitor: scene.suite(model, more, name="hard")
    assert promotion(update(scene, model, *OWLS)) == told | {"suites": ["hard"]}
    assert scene.live(model) == 1


def test_verdict_lets_a_version_go_live_while_it_covers_what_is_in_force(
    scene: Scene, model: Model, artifacts: MemoryArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard, chosen = ("fox", "pig"), judged_by(scene, model)
    knowing_each(scene, model, monkeypatch, {1: SUITES + hard, 2: SUITES + CATS})
    told = {"alias": "production", "moved": False, "reason": "not_asked_for"}
    assert promotion(update(scene, model, *CATS, auto_promote=False)) == told
    judged_by(scene, model, name="newer")
    with pytest.raises(EvaluationStale, match="'newer'"):
        go_live(scene, model, 2)
    configure_model(scene.platform, model.name, suites=None, policy=chosen, reason="a test")
    scene.suite(model, scene.frozen(*hard, each=30, offset=700), name="hard")
    with pytest.raises(EvaluationStale) as refusal:
        go_live(scene, model, 2, reason="please")
    assert refusal.value.facts["suites"] == ["hard"]
    configure_model(scene.platform, model.name, suites=[], policy=None, reason="a test")
    stored = scene.version(model, 2).report
    assert stored is not None
    artifacts.delete(stored)  # what it covers is known without it
    go_live(scene, model, 2)  # a suite fewer leaves nothing open


# ---- What failed after it was live ----------------------------------------------------------


@pytest.mark.parametrize("other_policy", [False, True])
def test_rollback_passes_over_a_version_that_has_failed_since_unless_it_is_overridden(
    scene: Scene, *, other_policy: bool
) -> None:
    """Another policy, a stricter one too, does not take the failure back."""
    model = scene.model()
    for number in (2, 3, 4):
        a_candidate(scene.platform, model, verdict=Verdict.PASSED, parent=number - 1)
        go_live(scene, model, number)
    with scene.platform.transactions() as work:
        version = work[Versions].get(model.id, 3)
        a_verdict(scene.platform, work, version, Verdict.FAILED)
        work.commit()
    if other_policy:
        judged_by(scene, model, alpha=0.005)
    with pytest.raises(GateFailed) as refusal:
        go_back(scene, model, to=3)
    scores = {"measures": [{"name": "emoji"}], "reasons": ["It forgot."]}
    assert refusal.value.facts["scores"] == scores
    assert go_back(scene, model) == 2
    assert go_back(scene, model, to=3, override=True) == 3
    with scene.platform.transactions(read_only=True) as work:
        assert work[Aliases].history(model.id, "production")[-1].override


def test_a_line_that_was_judged_ahead_is_judged_again_beside_what_went_live_since(
    scene: Scene,
) -> None:
    """Else each version might lose from its parent what its ancestors have brought."""
    model = scene.model()
    for number in (2, 3, 4, 5):
        a_candidate(scene.platform, model, verdict=Verdict.PASSED, parent=number - 1)
    go_live(scene, model, 2)
    go_live(scene, model, 3)  # the parent of which is live, and was compared with it
    with pytest.raises(EvaluationStale, match="does not compare it with version 2, which") as told:
        go_live(scene, model, 4)
    assert told.value.facts["settled"] == [2]
    again(scene, model, 4)
    go_live(scene, model, 4)
    with pytest.raises(EvaluationStale) as told:
        go_live(scene, model, 5)
    assert told.value.facts["settled"] == [2, 3]


def again(scene: Scene, model: Model, number: int) -> None:
    """Judge a version again, which passes."""
    with scene.platform.transactions() as work:
        a_verdict(scene.platform, work, work[Versions].get(model.id, number), Verdict.PASSED)
        work.commit()


def test_rollback_to_what_the_live_version_does_not_descend_from_is_free(scene: Scene) -> None:
    model = scene.model()
    for _ in range(2):
        a_candidate(scene.platform, model, verdict=Verdict.PASSED)
    go_live(scene, model, 2)
    go_live(scene, model, 3, override=True, reason="both are wanted")
    go_live(scene, model, 3)  # which replaces nothing, so that it takes no override
    assert go_back(scene, model, to=2) == 2
    with pytest.raises(GateFailed, match="live by override alone"):
        go_back(scene, model, to=3)
    assert go_back(scene, model, to=3, override=True) == 3
    assert go_back(scene, model) == 2


# ---- What was shown --------------------------------------------------------------------------


def test_a_preview_says_what_takes_a_reason_and_a_decision_by_another_one_moves_nothing(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    live = preview(scene, model, 2)
    assert (live.live, live.refusal) == (2, None)
    update(scene, model, *OWLS, parent=1)
    shown = preview(scene, model, 3)
    assert (shown.verdict, shown.live) == (Verdict.PASSED, 2)
    assert isinstance(shown.refusal, GateFailed)
    assert "Callers who send no `classes` would get cat, dog no longer" in shown.refusal.message
    go_back(scene, model, to=1)
    now = preview(scene, model, 3)
    assert (now.verdict, now.refusal) == (Verdict.PASSED, None)
    with pytest.raises(StalePreview):
        go_live(scene, model, 3, reason="seen", decided_on=shown.decided_on)
    assert scene.live(model) == 1
    go_live(scene, model, 3, decided_on=now.decided_on)
    assert scene.live(model) == 3
