"""A suite gets more images: what it judges, protects and lets pass from then on."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.datasets.freeze import freeze_version, read_manifest
from core.datasets.manifests import Part
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind, DatasetVersion, Suite
from core.datasets.suites import create_suite
from core.datasets.version_rows import Suites
from core.errors import (
    EvaluationStale,
    FieldInvalid,
    Forbidden,
    GateFailed,
    ImageInSuite,
    ImageInTraining,
    InUse,
    SuiteRetired,
)
from core.gate.levels import LOOK_SHARES
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import JobStatus
from core.platform import Platform
from core.principal import Principal, Role
from core.registry.configure import configure_model
from core.registry.evidence import grow_suite
from core.registry.rows import Models
from core.registry.versions import Model
from core.upkeep.delete import delete_dataset, retire_suite
from tests.support.erasures import erase
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import (
    CATS,
    OWLS,
    SUITES,
    a_judged_model,
    go_live,
    judged_by,
    report,
    update,
)
from tests.support.scene import Scene

PASSED, FAILED = Verdict.PASSED, Verdict.FAILED

KNOWN = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS}


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_judged_model(scene)


def grow(scene: Scene, data: DatasetVersion, suite: str = "easy") -> Suite:
    return grow_suite(
        scene.platform,
        suite=suite,
        dataset=data.dataset,
        dataset_version=data.number,
        reason="a test",
    )


def more(
    scene: Scene, offset: int = 700, each: int = 10, classes: Sequence[str] = SUITES
) -> DatasetVersion:
    return scene.frozen(*classes, each=each, offset=offset)


def first_of(scene: Scene, *, besides: DatasetVersion) -> DatasetVersion:
    """The dataset version that the suite was made of."""
    with scene.platform.transactions(read_only=True) as work:
        found = [one.id for one in work[Datasets].page(99, None) if one.id != besides.dataset]
        return work[Datasets].version(found[0], 1)


def suites_of(scene: Scene, model: Model) -> list[str]:
    with scene.platform.transactions(read_only=True) as work:
        return list(work[Models].get(model.id).suites)


def evaluate(scene: Scene, model: Model, version: int) -> str:
    scene.order(model, EvaluateOrder(version=version))
    ended = scene.run()
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    return ended.result["verdict"]


# ---- The next edition ------------------------------------------------------------------------


def test_the_next_edition_has_all_images_and_judges_every_model_in_its_place(
    scene: Scene, model: Model
) -> None:
    other = scene.model("other")
    configure_model(scene.platform, "other", suites=["easy"], policy=None, reason="a test")
    data = more(scene)
    first, _ = suites_of(scene, model)[0], grow(scene, data)
    with scene.platform.transactions(read_only=True) as work:
        old, new = work[Suites].get(first), work[Suites].get("easy")
        assert [suite.id for suite in work[Suites].page(9, None)] == [new.id]
        (event,) = work[AuditTrail].page(9, None, AuditFilter(action=Action.SUITE_GROWN))
    assert (old.edition, old.grown_into, new.edition) == (1, new.id, 2)
    assert suites_of(scene, model) == suites_of(scene, other) == [new.id]
    kept = read_manifest(scene.platform.artifacts, old.manifest).entries
    found = read_manifest(scene.platform.artifacts, new.manifest).entries
    assert {*kept} < {*found}
    assert {entry.edition for entry in kept} == {1}
    assert {entry.edition for entry in found if entry not in kept} == {2}
    assert new.images == len(found) == old.images + 20 * len(SUITES)
    assert event.change.after == {
        "edition": 2,
        "images": new.images,
        "added": new.images - old.images,
        "dataset": event.change.after["dataset"],
        "dataset_version": 1,
        "models": ["demo", "other"],
    }
    # whoever names the earlier edition gets the newest
    configure_model(scene.platform, "other", suites=[first], policy=None, reason="a test")
    assert suites_of(scene, other) == [new.id]


def test_present_images_of_its_own_dataset_make_a_suite_grow(scene: Scene, model: Model) -> None:
    data = more(scene, offset=900)
    with scene.platform.transactions() as work:
        (own,) = [one for one in work[Datasets].page(9, None) if one.id != data.dataset]
        work[Datasets].add_images(own.id, work[Datasets].images(data.dataset))
        work.commit()
    delete_dataset(scene.platform, dataset=data.dataset)
    with pytest.raises(ImageInSuite):
        freeze_version(scene.platform, own.id)
    grown = grow_suite(
        scene.platform, suite="easy", dataset=own.id, dataset_version=None, reason="a test"
    )
    assert (grown.edition, grown.images) == (2, 120 + data.images)


@pytest.mark.parametrize("wrong", ["kind", "class", "nothing new", "trained", "retired", "limited"])
def test_a_refused_growth_leaves_nothing_behind(scene: Scene, model: Model, wrong: str) -> None:
    data, error = more(scene), FieldInvalid
    before, platform = suites_of(scene, model), scene.platform
    match wrong:
        case "kind":
            data = scene.frozen("a hat", each=10, offset=700, kind=DatasetKind.CAPTIONED)
        case "class":
            data = more(scene, classes=("hat", "sock"))
        case "nothing new":
            data = first_of(scene, besides=data)
        case "trained":
            update(scene, model, *CATS)
            data, error = scene.frozen(*SUITES, each=15, offset=40), ImageInTraining
        case "retired":
            configure_model(platform, model.name, suites=[], policy=None, reason="a test")
            retire_suite(platform, suite="easy")
            before, error = [], SuiteRetired
        case "limited":
            key = Principal(name="limited", role=Role.ADMIN, models=frozenset({model.id}))
            platform, error = acting(platform, key), Forbidden
    with pytest.raises(error):
        grow_suite(
            platform,
            suite="easy",
            dataset=data.dataset,
            dataset_version=data.number,
            reason="a test",
        )
    assert suites_of(scene, model) == before
    with scene.platform.transactions(read_only=True) as work:
        assert work[Suites].get("easy").edition == 1
        assert not work[AuditTrail].page(9, None, AuditFilter(action=Action.SUITE_GROWN))


def acting(platform: Platform, principal: Principal) -> Platform:
    return replace(platform, transactions=platform.transactions.on_behalf_of(principal))


def test_new_images_are_never_taught_until_the_suite_is_retired(scene: Scene, model: Model) -> None:
    data = more(scene)
    first = suites_of(scene, model)[0]
    grow(scene, data)
    with pytest.raises(InUse, match="Suites that were made of it: easy"):
        delete_dataset(scene.platform, dataset=data.dataset)
    scene.update(model, data)
    assert scene.run().error["code"] == "image_in_suite"
    with pytest.raises(InUse):
        retire_suite(scene.platform, suite=first)  # the id of an earlier edition is the suite
    configure_model(scene.platform, model.name, suites=[], policy=None, reason="a test")
    retire_suite(scene.platform, suite=first)
    scene.learn(model, data)
    with pytest.raises(SuiteRetired):
        configure_model(scene.platform, model.name, suites=["easy"], policy=None, reason="a test")


def test_an_erased_image_is_in_no_later_edition(scene: Scene, model: Model) -> None:
    data = more(scene)
    gone = read_manifest(scene.platform.artifacts, data.manifest).entries[0].pixels
    grow(scene, data)
    erase(scene, gone)
    grown = grow(scene, more(scene, offset=900))
    assert grown.edition == 3
    held = read_manifest(scene.platform.artifacts, grown.manifest).entries
    assert gone not in {entry.pixels for entry in held}
    assert len(held) == 120 + 39 + 40


# ---- Looks -----------------------------------------------------------------------------------


def test_after_growth_a_verdict_lets_nothing_pass_and_the_next_look_is_stricter(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, KNOWN)
    update(scene, model, *CATS, auto_promote=False)
    grow(scene, more(scene))
    with pytest.raises(EvaluationStale, match="as they are now: easy"):
        go_live(scene, model, 2)
    assert evaluate(scene, model, 2) == "passed"
    assert evaluate(scene, model, 2) == "passed"  # the same images again are the same look
    found = report(scene, model, 2)
    easy = [measure for measure in found.measures if measure.name == "easy"]
    assert {(one.look, one.level) for one in easy} == {(2, 0.2 * LOOK_SHARES[1])}
    (grown,) = found.grown
    asked = easy[0].images
    assert (grown.name, grown.images, grown.look) == ("easy", asked, 2)
    assert grown.seen == (asked_by(scene, 1),)
    assert grown.seen[0] < asked
    assert any("look 2 of at most 5" in reason for reason in found.reasons)
    go_live(scene, model, 2)
    update(scene, model, *OWLS)  # another version: its first look
    assert {one.look for one in report(scene, model, 3).measures} == {1}
    assert not report(scene, model, 3).grown


def test_easier_images_do_not_hide_a_loss_on_those_of_an_earlier_edition(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 has lost all bags, half of the suite; nobody has lost a hat."""
    knowing_each(scene, model, monkeypatch, KNOWN | {2: (*CATS, "hat")})
    judged_by(scene, model, parent_tolerance=0.45, root_tolerance=0.45)
    update(scene, model, *CATS, auto_promote=False)
    assert scene.version(model, 2).verdict is Verdict.INCONCLUSIVE
    grow(scene, more(scene, each=200, classes=("hat",)))
    assert evaluate(scene, model, 2) == "inconclusive"
    found = report(scene, model, 2)
    (easy, *_) = [one for one in found.measures if one.name == "easy"]
    assert (easy.interval_lower >= -0.45, easy.held_back_by) == (True, 1)
    said, _ = [reason for reason in found.reasons if "does not hold by all images" in reason]
    assert "the 98 images of an earlier edition changed by −" in said
    assert "added since by 0.0" in said


def asked_by(scene: Scene, edition: int) -> int:
    with scene.platform.transactions(read_only=True) as work:
        (suite,) = [one for one in work[Suites].editions() if one.edition == edition]
    entries = read_manifest(scene.platform.artifacts, suite.manifest).entries
    return sum(entry.part is Part.TEST for entry in entries)


def test_a_failure_stands_whatever_images_are_added(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if all new ones are right, and if the same images come under another name."""
    judged_by(scene, model, parent_tolerance=0.1, root_tolerance=0.1)
    knowing_each(scene, model, monkeypatch, KNOWN | {2: (*CATS, "hat")})
    update(scene, model, *CATS)
    assert scene.version(model, 2).verdict is FAILED
    data = more(scene, each=200, classes=("hat",))
    grow(scene, data)
    with pytest.raises(GateFailed):
        go_live(scene, model, 2, reason="it knows hats")
    knowing_each(scene, model, monkeypatch, KNOWN)
    assert evaluate(scene, model, 2) == "failed"
    found = report(scene, model, 2)
    assert "has failed before under this policy" in found.reasons[0]
    assert "it has failed before" in found.summary.go_live
    with scene.platform.transactions(read_only=True) as work:
        suite = work[Suites].get("easy")
        first = next(one for one in work[Datasets].page(9, None) if one.id != data.dataset)
    create_suite(scene.platform, name="again", kind=suite.kind, dataset=first.id, dataset_version=1)
    configure_model(scene.platform, model.name, suites=["again"], policy=None, reason="a test")
    assert evaluate(scene, model, 2) == "failed"


def test_a_failure_stands_whatever_suite_comes_beside_and_if_the_update_is_repeated(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(scene, model, parent_tolerance=0.1, root_tolerance=0.1)
    knowing_each(scene, model, monkeypatch, KNOWN | {2: (*CATS, "hat")})
    data = scene.frozen(*CATS, each=15, offset=40)
    scene.learn(model, data)
    assert scene.version(model, 2).verdict is FAILED
    scene.suite(model, scene.frozen("sun", "moon", each=200, offset=3000), name="other")
    knowing_each(scene, model, monkeypatch, dict.fromkeys(KNOWN, (*SUITES, *CATS, "sun", "moon")))
    assert evaluate(scene, model, 2) == "failed"
    with pytest.raises(GateFailed):
        go_live(scene, model, 2, reason="it knows the sun")
    scene.script.tasks.clear()  # the same weights, as of a training that is repeated exactly
    scene.learn(model, data)
    assert scene.version(model, 3).digest == scene.version(model, 2).digest
    assert scene.version(model, 3).verdict is FAILED


def test_an_erasure_takes_no_failure_back_if_the_update_is_repeated(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(scene, model, parent_tolerance=0.1, root_tolerance=0.1)
    knowing_each(scene, model, monkeypatch, KNOWN | {2: (*CATS, "hat")})
    data = scene.frozen(*CATS, each=15, offset=5000, forms=10**6)  # none of the suite's bytes
    scene.learn(model, data)
    assert scene.version(model, 2).verdict is FAILED
    with scene.platform.transactions(read_only=True) as work:
        suite = read_manifest(scene.platform.artifacts, work[Suites].get("easy").manifest)
    erase(scene, next(one.pixels for one in suite.entries if one.part is Part.TEST))
    knowing_each(scene, model, monkeypatch, dict.fromkeys(KNOWN, (*SUITES, *CATS)))
    scene.script.tasks.clear()  # the same weights, as of a training that is repeated exactly
    scene.learn(model, data)
    assert scene.version(model, 3).digest == scene.version(model, 2).digest
    assert scene.version(model, 3).verdict is FAILED


def test_a_look_at_the_same_weights_in_another_model_counts(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = scene.model("other")
    judged_by(scene, other)
    configure_model(scene.platform, "other", suites=["easy"], policy=None)
    data = scene.frozen(*CATS, each=15, offset=40)
    for one in (other, model):
        knowing_each(scene, one, monkeypatch, KNOWN)
        scene.script.tasks.clear()  # the same weights, as of a training that is repeated exactly
        scene.learn(one, data, auto_promote=False)
        looks = {measure.look for measure in report(scene, one, 2).measures}
        assert looks == ({1} if one == other else {1, 2})
        grow(scene, more(scene, offset=700 if one == other else 900))
    assert scene.version(model, 2).digest == scene.version(other, 2).digest


def test_looks_of_fewer_images_than_the_minimum_do_not_count_and_after_five_none_passes(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(scene, model, minimum_count=asked_by(scene, 1) + 1)
    knowing_each(scene, model, monkeypatch, KNOWN)
    update(scene, model, *CATS, auto_promote=False)
    verdicts, looks = [], []
    for n in range(6):
        grow(scene, more(scene, offset=700 + 40 * n, each=10))
        verdicts.append(evaluate(scene, model, 2))
        found = report(scene, model, 2)
        looks.append({one.look for one in found.measures if one.name == "easy"})
    assert looks == [{n} for n in (1, 2, 3, 4, 5, 6)]
    assert verdicts == ["passed"] * 5 + ["inconclusive"]
    assert any("5 times before" in reason for reason in found.reasons)
    assert any("used up" in reason for reason in found.reasons)
