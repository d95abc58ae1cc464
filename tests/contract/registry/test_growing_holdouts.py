"""An earlier update's holdout gets more images: whom they judge, and what that costs."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.datasets.freeze import read_manifest
from core.datasets.manifests import Part
from core.datasets.rules import DatasetVersion, Suite
from core.datasets.thumbnail_rows import Thumbnails
from core.datasets.version_rows import Suites
from core.errors import (
    ArtifactMissing,
    EvaluationStale,
    FieldInvalid,
    Forbidden,
    GateFailed,
    ImageInTraining,
    ModelNotFound,
    PerennialError,
)
from core.evaluation.answers import Answers
from core.evaluation.queries import EvalQuery
from core.gate.kinds import ClassList
from core.gate.levels import LOOK_SHARES
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import JobStatus, Monitor
from core.principal import Principal, Role
from core.registry.evidence import grow_holdout
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.upkeep.delete import delete_model, delete_version
from core.values import Digest
from tests.support.erasures import erase
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import (
    ANTS,
    CATS,
    OWLS,
    SUITES,
    a_judged_model,
    go_live,
    judged_by,
    report,
    update,
)
from tests.support.factories import NOW
from tests.support.processes import wait_for
from tests.support.scene import Scene
from tests.support.storage.databases import waiting

FISH = ("cod", "eel")

KNOWN = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}
KNOWN |= {4: KNOWN[3] + ANTS, 5: KNOWN[3] + ANTS + FISH}


@pytest.fixture
def model(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Version 2 has learned cats and is live."""
    model = a_judged_model(scene)
    judged_by(scene, model, holdout_tolerance=0.5, settled_tolerance=0.5)
    knowing_each(scene, model, monkeypatch, KNOWN)
    update(scene, model, *CATS)
    assert scene.live(model) == 2
    return model


def more(scene: Scene, offset: int = 900, each: int = 10, *classes: str) -> DatasetVersion:
    return scene.frozen(*(classes or CATS), each=each, offset=offset)


def grow(scene: Scene, model: Model, data: DatasetVersion, version: int = 2) -> Suite:
    return grow_holdout(
        scene.platform,
        model=model.name,
        version=version,
        dataset=data.dataset,
        dataset_version=data.number,
        reason="a test",
    )


def evaluate(scene: Scene, model: Model, version: int) -> str:
    scene.order(model, EvaluateOrder(version=version))
    ended = scene.run()
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    return str(ended.result["verdict"])


def asked(scene: Scene, model: Model, version: int, baseline: str) -> set[int]:
    """The numbers of images of version 2's holdout that a version was compared on."""
    return {
        one.images
        for one in report(scene, model, version).measures
        if (one.name, one.asked) == ("version 2", ClassList.OWN) and baseline in one.baseline
    }


def judged_on(scene: Scene, model: Model, version: int) -> int:
    """The test images of version 2's holdout that have judged a later version."""
    return report(scene, model, version).images["version 2"]


def added_tests(scene: Scene, suite: Suite) -> int:
    entries = read_manifest(scene.platform.artifacts, suite.manifest).entries
    return sum(entry.part is Part.TEST for entry in entries)


def test_they_judge_all_later_versions_and_not_what_the_update_gained(
    scene: Scene, model: Model
) -> None:
    own = report(scene, model, 2).images["version 2"]
    grown = grow(scene, model, more(scene))
    update(scene, model, *OWLS)
    together = own + added_tests(scene, grown)
    assert report(scene, model, 3).images["version 2"] == together
    assert asked(scene, model, 3, "parent") == asked(scene, model, 3, "settled") == {together}
    assert evaluate(scene, model, 2) == "passed"
    assert report(scene, model, 2).images["version 2"] == own
    with scene.platform.transactions(read_only=True) as work:
        assert [one.name for one in work[Suites].page(9, None)] == ["easy"]
        (event,) = work[AuditTrail].page(9, None, AuditFilter(action=Action.HOLDOUT_GROWN))
        assert {one.holdouts for one in work[Verdicts].on(model.id, 3)} == {(grown.id,)}
    assert (event.change.subject, event.change.after["added"]) == (
        "models/demo/versions/2",
        grown.images,
    )


def test_a_verdict_without_them_lets_nothing_pass_and_the_next_is_a_stricter_look(
    scene: Scene, model: Model
) -> None:
    update(scene, model, *OWLS, auto_promote=False)
    before = judged_on(scene, model, 3)
    grow(scene, model, more(scene))
    with pytest.raises(EvaluationStale, match="added to the holdout of version 2") as stale:
        go_live(scene, model, 3)
    assert stale.value.facts["holdouts"] == [2]
    assert evaluate(scene, model, 3) == evaluate(scene, model, 3) == "passed"
    found = report(scene, model, 3)
    levels = {(one.look, one.level) for one in found.measures if one.name == "version 2"}
    assert levels == {(2, 0.2 * LOOK_SHARES[1])}
    assert {one.look for one in found.measures if one.name == "easy"} == {1}
    (images,) = found.grown
    grown = judged_on(scene, model, 3)
    assert (images.name, images.images, images.look) == ("holdouts", grown, 2)
    assert images.seen == (before,)
    go_live(scene, model, 3)


def test_a_failure_on_fewer_stands(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(scene, model, holdout_tolerance=0.1, settled_tolerance=0.1)
    knowing_each(scene, model, monkeypatch, KNOWN | {3: SUITES + OWLS})
    update(scene, model, *OWLS)
    assert scene.version(model, 3).verdict is Verdict.FAILED
    knowing_each(scene, model, monkeypatch, KNOWN)
    grow(scene, model, more(scene, 900, 100))
    with pytest.raises(GateFailed):
        go_live(scene, model, 3, reason="now it knows them")
    assert evaluate(scene, model, 3) == "failed"
    assert "has failed before under this policy" in report(scene, model, 3).reasons[0]


def test_a_settled_version_without_weights_is_compared_on_the_images_of_its_time(
    scene: Scene, model: Model
) -> None:
    own = report(scene, model, 2).images["version 2"]
    for classes in (OWLS, ANTS, FISH):
        update(scene, model, *classes)
    grown = grow(scene, model, more(scene))
    without_weights(scene, model, 2, 3)
    assert evaluate(scene, model, 5) == "passed"
    together = own + added_tests(scene, grown)
    assert asked(scene, model, 5, "settled") == {own}
    assert asked(scene, model, 5, "parent") == {together}
    (found,) = report(scene, model, 5).grown
    assert (found.name, found.look) == ("holdouts", 2)
    assert found.images - found.common == together - own


def test_a_version_whose_weights_go_meanwhile_is_compared_in_that_way_too(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, learner = report(scene, model, 2).images["version 2"], scene.version(model, 2).digest
    for classes in (OWLS, ANTS, FISH):
        update(scene, model, *classes)
    grow(scene, model, more(scene))
    answer = scene.script.answer

    def collected_meanwhile(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        without_weights(scene, model, 2)
        if version == learner:
            raise ArtifactMissing
        return answer(version, questions, monitor)

    monkeypatch.setattr(scene.script, "answer", collected_meanwhile)
    assert evaluate(scene, model, 5) == "passed"
    assert asked(scene, model, 5, "settled") == {own}


def without_weights(scene: Scene, model: Model, *numbers: int) -> None:
    with scene.platform.transactions() as work:
        for number in numbers:
            work[Versions].release_weights(model.id, number, NOW)
        work.commit()


def test_an_erasure_reaches_them_and_what_is_left_still_judges(scene: Scene, model: Model) -> None:
    data = more(scene)
    grown = grow(scene, model, data)
    update(scene, model, *OWLS)
    entries = read_manifest(scene.platform.artifacts, grown.manifest).entries
    gone = next(entry.pixels for entry in entries if entry.part is Part.TEST)
    update(scene, model, *ANTS)
    update(scene, model, *FISH)
    together = report(scene, model, 5).images["version 2"]
    without_weights(scene, model, 2, 3)
    done = erase(scene, gone)
    assert done.findings.suites == ("holdout of demo:2",)
    assert not done.findings.versions  # nothing has learned from it
    assert evaluate(scene, model, 5) == "passed"
    assert asked(scene, model, 5, "settled") == {together - 1}
    assert {one.look for one in report(scene, model, 5).measures} == {1}


@pytest.mark.parametrize("wrong", ["root", "class", "there already", "trained", "limited"])
def test_a_refused_growth_leaves_nothing_behind(scene: Scene, model: Model, wrong: str) -> None:
    data, version, platform = more(scene), 2, scene.platform
    error: type[PerennialError] = FieldInvalid
    match wrong:
        case "root":
            version = 1
        case "class":
            data = more(scene, 900, 10, "cat", "owl")
        case "there already":
            grow(scene, model, data)
        case "trained":
            update(scene, model, *OWLS)
            data, error = scene.frozen(*CATS, each=15, offset=80), ImageInTraining
        case "limited":
            key = Principal(name="limited", role=Role.ADMIN, models=frozenset({model.id}))
            platform = replace(platform, transactions=platform.transactions.on_behalf_of(key))
            error = Forbidden
    wanted = {"model": model.name, "version": version, "dataset": data.dataset, "reason": "few"}
    with scene.platform.transactions(read_only=True) as work:
        before = work[Suites].editions()
    with pytest.raises(error):
        grow_holdout(platform, dataset_version=data.number, **wanted)
    with scene.platform.transactions(read_only=True) as work:
        assert work[Suites].editions() == before


def test_no_model_learns_them_until_the_model_is_deleted(scene: Scene) -> None:
    model, data = a_judged_model(scene), more(scene)
    update(scene, model, *CATS)
    grow(scene, model, data)
    other = scene.model("other")
    scene.update(other, data)
    assert scene.run().error["code"] == "image_in_suite"
    delete_model(scene.platform, model=model.name, reason="a test")
    scene.learn(other, data)


def test_no_model_learns_them_until_the_version_is_deleted(scene: Scene) -> None:
    model, data = a_judged_model(scene), more(scene)
    update(scene, model, *CATS, auto_promote=False)
    grow(scene, model, data)
    with scene.platform.transactions(read_only=True) as work:
        (added,) = work[Suites].held_out(model.id).values()
    delete_version(scene.platform, model=model.name, version=2, reason="a test")
    with scene.platform.transactions(read_only=True) as work:
        assert work[Suites].get(added.id).retired_at == NOW
    scene.learn(scene.model("other"), data)
    delete_model(scene.platform, model=model.name, reason="a test")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_images_that_come_while_the_model_is_deleted_are_refused(
    scene: Scene, model: Model
) -> None:
    platform, data = scene.platform, more(scene)
    with ThreadPoolExecutor() as threads:
        with platform.transactions() as first:
            first[Thumbnails].lock()
            deleting = threads.submit(delete_model, platform, model=model.name, reason="a test")
            wait_for(
                lambda: waiting(platform.transactions, table=True) >= 1, seconds=10, every=0.01
            )
            growing = threads.submit(grow, scene, model, data)
            wait_for(
                lambda: waiting(platform.transactions, table=True) >= 2, seconds=10, every=0.01
            )
        assert deleting.result().id == model.id
        assert isinstance(growing.exception(), ModelNotFound)
    with platform.transactions(read_only=True) as work:
        assert not work[Suites].held_out(model.id)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_two_who_add_to_a_holdout_at_once_add_both(scene: Scene, model: Model) -> None:
    platform, data = scene.platform, [more(scene), more(scene, 950)]
    with ThreadPoolExecutor() as threads:
        with platform.transactions() as first:
            first[Thumbnails].lock()
            growing = [threads.submit(grow, scene, model, one) for one in data]
            wait_for(
                lambda: waiting(platform.transactions, table=True) >= 2, seconds=10, every=0.01
            )
        assert {one.result().edition for one in growing} == {2, 3}
