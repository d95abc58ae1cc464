"""The baselines of a version of a longer line, and its parent from one claim to the next."""

from collections.abc import Callable

import pytest

from core.errors import ArtifactGone, DatabaseUnavailable
from core.gate.kinds import ClassList, MeasureKind
from core.gate.rules import Verdict
from core.jobs.orders import ConvertOrder
from core.jobs.rules import JobStatus, Monitor
from core.registry.alias_rows import Aliases
from core.registry.configure import configure_model
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions
from core.registry.versions import Model, ServingPrecision
from core.values import Digest
from tests.support.api.seeds import a_candidate
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
from tests.support.factories import NOW
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene, nothing


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_judged_model(scene)


# ---- Compared with --------------------------------------------------------------------------


def test_every_earlier_update_is_asked_and_compared_with_parent_live_and_settled_version(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(scene, model, minimum_count=30)  # more than a holdout has
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + OWLS + ANTS, 4: SUITES + OWLS + ANTS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    update(scene, model, *OWLS, parent=2)
    update(scene, model, *ANTS, parent=3)
    found = report(scene, model, 4)
    ((root,), (suite, *_)) = against(found, "root"), against(found, "live version")
    assert (root.baseline_version, suite.name, suite.baseline_version) == (1, "easy", 2)
    rulings = [m for m in found.measures if m.asked is ClassList.OWN]
    told = {
        (m.name, m.baseline): (m.baseline_version, m.right_before, m.lost)
        for m in rulings
        if m.kind is MeasureKind.HOLDOUT
    }
    assert told == {
        ("version 2", "parent"): (3, 0, 0),
        ("version 2", "live version and settled version"): (2, 25, 25),
        ("version 3", "parent and settled version"): (3, 23, 0),
        ("version 3", "live version"): (2, 0, 0),  # which has not learned it
        ("version 4", "live version"): (2, 0, 0),
    }
    together = {m.baseline: m for m in rulings if m.kind is MeasureKind.HOLDOUTS}
    assert {one.images for one in together.values()} == {48}
    settled = together["settled version"]
    assert (settled.lost, settled.baseline_version, together["parent"].lost) == (25, None, 0)
    (gain,) = (m for m in rulings if m.kind is MeasureKind.GAIN)
    assert (gain.baseline_version, gain.right_before, gain.difference) == (3, gain.count, 0.0)
    assert found.verdict is Verdict.FAILED


def test_a_settled_version_without_weights_is_asked_by_its_stored_answers(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(scene, model, minimum_count=30)
    line = [SUITES, SUITES + CATS, SUITES + CATS + OWLS, SUITES + CATS + OWLS + ANTS]
    more = ("fox", "pig")
    knowing_each(scene, model, monkeypatch, {n: line[min(n, 4) - 1] for n in range(1, 5)})
    for classes in (CATS, OWLS, ANTS):
        update(scene, model, *classes)
    assert scene.live(model) == 4
    with scene.platform.transactions() as work:
        for number in (2, 3):
            work[Versions].release_weights(model.id, number, NOW)
        work.commit()
    knowing_each(scene, model, monkeypatch, {1: SUITES, 4: line[3], 5: line[3] + more})
    update(scene, model, *more)
    found = report(scene, model, 5)
    settled = [(m.name, m.baseline_version) for m in against(found, "settled version")]
    assert settled == [("easy", 2), ("easy", 3), ("version 2", 3), ("3 updates", None)]
    assert found.verdict is Verdict.PASSED


# ---- Pinned ---------------------------------------------------------------------------------


def test_parent_stays_the_same_when_the_alias_moves_before_the_second_claim(
    scene: Scene, model: Model
) -> None:
    a_candidate(scene.platform, model, verdict=Verdict.PASSED)
    job = scene.update(model, scene.frozen(*CATS))

    def move_the_alias_and_die(monitor: Monitor) -> None:
        go_live(scene, model, 2, override=True, reason="meanwhile")
        raise DatabaseUnavailable

    scene.script.training = move_the_alias_and_die
    assert scene.run().status is JobStatus.QUEUED
    scene.script.training = nothing
    assert scene.run().status is JobStatus.SUCCEEDED
    first, second = scene.script.tasks
    assert first.parent == second.parent == scene.version(model, 1).digest
    assert scene.job(job).parent_version == scene.version(model, 3).parent == 1


def test_update_that_passes_stays_out_when_the_alias_has_left_its_parent(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    scene.script.training = lambda monitor: go_back(scene, model)
    ended = update(scene, model, *OWLS)
    assert ended.result is not None
    assert (ended.result["verdict"], ended.parent_version) == ("passed", 2)
    told = {"alias": "production", "moved": False, "reason": "stale_base", "alias_version": 1}
    assert ended.result["promotion"] == told
    assert scene.live(model) == 1


# ---- Weights --------------------------------------------------------------------------------


def promote_it(scene: Scene, model: Model) -> None:
    go_live(scene, model, 2, override=True, reason="seeded")


def go_back_to_it(scene: Scene, model: Model) -> None:
    go_back(scene, model, to=2)


@pytest.mark.parametrize("move", [promote_it, go_back_to_it])
def test_weights_that_are_given_up_as_an_alias_moves_to_them_keep_it_where_it_is(
    scene: Scene,
    model: Model,
    artifacts: MemoryArtifacts,
    monkeypatch: pytest.MonkeyPatch,
    move: Callable[[Scene, Model], None],
) -> None:
    for number in (2, 3):
        a_candidate(scene.platform, model, verdict=Verdict.PASSED, parent=number - 1)
        go_live(scene, model, number, override=True, reason="seeded")
    has = artifacts.has

    def give_up_meanwhile(digest: Digest) -> bool:
        if digest == scene.version(model, 2).digest:
            with scene.platform.transactions() as work:
                work[Versions].release_weights(model.id, 2, NOW)
                work.commit()
        return has(digest)

    monkeypatch.setattr(artifacts, "has", give_up_meanwhile)
    with pytest.raises(ArtifactGone):
        move(scene, model)
    assert scene.live(model) == 3


# ---- A live version that is itself beyond a limit ----------------------------------------------


def test_a_line_whose_live_version_lost_too_much_is_not_failed_and_does_not_go_on_by_itself(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(scene, model, root_tolerance=0.1, holdout_tolerance=0.9, settled_tolerance=0.9)
    known = {1: SUITES, 2: CATS, 3: CATS + OWLS, 4: SUITES + CATS + OWLS + ANTS}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *CATS)
    assert scene.version(model, 2).verdict is Verdict.FAILED
    go_live(scene, model, 2, override=True, reason="cats are all that we need today")
    update(scene, model, *OWLS)
    child = report(scene, model, 3)
    assert (child.parent, child.verdict, scene.live(model)) == (2, Verdict.INCONCLUSIVE, 2)
    assert sum("live version itself has lost" in reason for reason in child.reasons) == 1
    go_live(scene, model, 3, reason="owls are worth it")
    update(scene, model, *ANTS)
    regained = report(scene, model, 4)
    assert (regained.verdict, scene.live(model)) == (Verdict.PASSED, 4)


@pytest.mark.parametrize("alias", ["production", "staging"])
def test_whoever_promotes_with_a_reason_or_override_does_not_choose_from_where_losses_count(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch, alias: str
) -> None:
    judged_by(scene, model, holdout_tolerance=0.3, settled_tolerance=0.3, alpha=0.05)
    known = {1: SUITES, 2: SUITES + CATS, 3: SUITES + OWLS + ("cat",)}
    knowing_each(scene, model, monkeypatch, known | {4: (*SUITES, *OWLS, *ANTS, "cat")})
    update(scene, model, *CATS)
    update(scene, model, *OWLS)
    assert scene.version(model, 3).verdict is not Verdict.PASSED
    go_live(scene, model, 3, alias=alias, reason="half of the cats will do", override=True)
    update(scene, model, *ANTS, parent=3, auto_promote=False)
    found = report(scene, model, 4).measures
    lost = {m.asked: m for m in found if "settled" in m.baseline and m.name == "version 2"}
    assert {m.baseline_version for m in lost.values()} == {2}
    assert all(m.lost > 0 for m in lost.values())
    assert report(scene, model, 4).verdict is not Verdict.PASSED


def test_whoever_promotes_the_live_version_once_more_does_not_choose_it_either(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 4 went live with a reason. Beside its parent it has passed, and nothing is live."""
    limits = {"holdout_tolerance": 0.36, "settled_tolerance": 0.55, "swallow_tolerance": 0.55}
    judged_by(scene, model, **limits)
    five, more = ("cat", "dog", "fox", "pig", "cow"), ("hen", "rat")
    three, two = (*SUITES, *OWLS, *five[:3]), (*SUITES, *OWLS, *five[:2])
    known = {1: SUITES, 2: SUITES + five, 3: three, 4: (*three, *ANTS), 5: (*two, *ANTS, *more)}
    knowing_each(scene, model, monkeypatch, known)
    update(scene, model, *five)
    update(scene, model, *OWLS)
    update(scene, model, *ANTS, parent=3, auto_promote=False)
    alias = go_live(scene, model, 4, reason="three of five will do", override=True)
    with scene.platform.transactions(read_only=True) as work:
        moves = work[Aliases].history(model.id, "production")
    assert go_live(scene, model, 4) == go_live(scene, model, 4, reason="it passed") == alias
    assert go_back(scene, model, to=4) == 4
    with scene.platform.transactions(read_only=True) as work:
        assert work[Aliases].history(model.id, "production") == moves
    update(scene, model, *more)
    found = [m for m in report(scene, model, 5).measures if m.name == "version 2"]
    assert {m.baseline_version for m in found if "settled" in m.baseline} == {2}
    assert scene.live(model) == 4


@pytest.mark.parametrize(("tolerance", "settled"), [(0.9, 2), (0.2, 3)])
def test_a_version_that_passed_by_a_looser_policy_is_not_the_settled_one(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch, tolerance: float, settled: int
) -> None:
    """A stricter policy of an earlier time chooses, a looser one does not."""
    known = SUITES + CATS + OWLS if settled == 3 else (*SUITES, *OWLS, "cat")
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS, 3: known, 4: known})

    def judged(name: str, limit: float) -> None:
        limits = dict.fromkeys(("holdout_tolerance", "settled_tolerance"), limit)
        judged_by(scene, model, name=name, **limits)

    judged("then", tolerance)
    update(scene, model, *CATS)
    update(scene, model, *OWLS)
    assert scene.live(model) == 3
    judged("now", 0.3)
    update(scene, model, *ANTS, parent=3, auto_promote=False)
    losses = [m for m in report(scene, model, 4).measures if m.name == "version 2"]
    assert {m.baseline_version for m in losses if "settled" in m.baseline} == {settled}


# ---- A failure stands -----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["repeated", "converted", "beside the converted"])
def test_a_failure_is_not_undone_by_converting_the_parent_and_back(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The same update on the same weights is no new try, whatever number its parent has."""
    judged_by(scene, model, parent_tolerance=0.1, root_tolerance=0.1)
    others = dict.fromkeys((1, 3, 4, 5), SUITES)
    knowing_each(scene, model, monkeypatch, {**others, 2: (*CATS, "hat")})
    data = scene.frozen(*CATS, each=15, offset=40)
    scene.learn(model, data)
    assert scene.version(model, 2).verdict is Verdict.FAILED
    parent = 1
    there_and_back = (ServingPrecision.BF16, ServingPrecision.FP32)
    for precision in there_and_back if way != "repeated" else ():
        scene.order(model, ConvertOrder(precision=precision, parent=parent))
        parent = scene.run().result["version"]
        if scene.live(model) != parent:
            go_live(scene, model, parent)
    assert scene.version(model, parent).digest == scene.version(model, 1).digest
    scene.suite(model, scene.frozen("sun", "moon", each=200, offset=3000), name="another")
    configure_model(scene.platform, model.name, suites=["another"], policy=None, reason="renewed")
    suns = dict.fromkeys((1, 3, 4, 5), (*SUITES, "sun", "moon"))
    knowing_each(scene, model, monkeypatch, {**suns, 2: (*SUITES, *CATS, "sun", "moon")})
    scene.script.tasks.clear()
    again = 1 if way == "beside the converted" else parent
    number = scene.learn(model, data, parent=again).result["version"]
    made = scene.version(model, number)
    assert made.digest == scene.version(model, 2).digest
    assert (made.verdict, scene.live(model)) == (Verdict.FAILED, parent)
    with scene.platform.transactions(read_only=True) as work:
        given = work[Verdicts].on_each(model.id, [number])[number]
    assert {one.verdict for one in given} == {Verdict.FAILED}  # beside each that it is beside
