"""Marks go by the digest of the weights: to other models, to what comes later, and off again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.bundles.import_version import require_unmarked
from core.bundles.read import SignedBundle
from core.bundles.rules import BundledVersion, Signer, Statement
from core.bundles.write import describe_line
from core.datasets.freeze import read_manifest
from core.datasets.manifests import Part, Side, validation_of
from core.datasets.rules import DatasetKind, DatasetRef, DatasetVersion
from core.erasure.order import certify
from core.erasure.rules import ErasureStatus, Exposure, Retraining
from core.errors import InUse, LearnedErasedImages
from core.gate.rules import Verdict
from core.jobs.orders import ImportOrder
from core.jobs.rules import JobStatus
from core.recipes.fields import Method, MixingChoice
from core.recipes.rules import Recipe
from core.registry.evidence import grow_holdout
from core.registry.marks import Marks
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.upkeep.delete import delete_dataset, delete_dataset_version, delete_version
from core.values import Digest
from tests.support.api.seeds import a_verdict
from tests.support.erasures import entry_of, erase, followed
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import CATS, SUITES, a_judged_model, go_live
from tests.support.factories import an_origin, digest
from tests.support.ordering import an_unimported_model
from tests.support.scene import Scene

MANY = 1000  # forms: no two images have the same bytes


def put(scene: Scene, version: Version, into: Model, **changes: Any) -> None:
    """A version of another model, as one imported from a bundle is."""
    with scene.platform.transactions() as work:
        number = work[Versions].next_number(into.id)
        own = {"dataset": None, "dataset_version": None, "reference": None, "erasure": None}
        place = {"model": into.id, "number": number, "parent": 1}
        job = work[Versions].get(into.id, 1).job
        work[Versions].add(replace(version, **own | place | {"job": job} | changes))
        work.commit()


def marks(scene: Scene, model: Model) -> list[bool]:
    return [version.erasure is not None for version in scene.versions(model)]


def test_the_same_weights_are_marked_in_every_model_and_so_is_what_came_from_them(
    scene: Scene,
) -> None:
    model, copy = scene.model(), scene.model("copy")
    data = scene.frozen("cat", "dog", forms=MANY)
    scene.learn(model, data)
    taught = scene.version(model, 2)
    put(scene, taught, copy)
    scene.learn(copy, scene.frozen("owl", "elk", offset=50, forms=MANY), parent=2)
    named, manifest = an_origin(taught.digest), an_origin(data.manifest)
    put(scene, taught, copy, digest=digest("grandchild"), origin=named)
    put(scene, taught, copy, digest=digest("of a deleted line"), origin=manifest)
    put(scene, taught, copy, digest=digest("clean"), origin=an_origin(digest("x")))
    erasure = erase(scene, entry_of(scene, data, Side.TRAIN).pixels)
    assert (marks(scene, model), marks(scene, copy)) == (
        [False, True],
        [False, True, True, True, True, False],
    )
    found = {(one.name, one.number): one for one in erasure.findings.versions}
    assert {key: one.learned for key, one in found.items()} == {
        ("demo", 2): Exposure.TAUGHT,
        ("copy", 2): Exposure.COPIED,
        ("copy", 3): Exposure.INHERITED,
        ("copy", 4): Exposure.COPIED,
        ("copy", 5): Exposure.COPIED,
    }
    obstacles = [found["copy", number].obstacle for number in (2, 3, 4, 5)]
    assert obstacles == ["trained_elsewhere", "parent_not_retrained", *["trained_elsewhere"] * 2]
    with scene.platform.transactions() as work:
        a_verdict(scene.platform, work, scene.version(copy, 2), Verdict.PASSED)
        work.commit()
    with pytest.raises(LearnedErasedImages):
        go_live(scene, copy, 2, reason="x", override=False)
    scene.run()
    assert followed(scene, erasure).status is ErasureStatus.INCOMPLETE


@pytest.mark.parametrize("name", [lambda manifest: manifest, validation_of])
def test_what_an_imported_version_learned_from_stays_known(
    scene: Scene, name: Callable[[Digest], Digest]
) -> None:
    copy, data = scene.model("copy"), scene.frozen("cat", "dog", forms=MANY)
    other = scene.frozen("owl", "elk", offset=50, forms=MANY)
    put(
        scene,
        scene.version(copy, 1),
        copy,
        digest=digest("x"),
        origin=an_origin(name(data.manifest)),
    )
    with pytest.raises(InUse) as refused:
        delete_dataset_version(scene.platform, dataset=data.dataset, version=1)
    assert refused.value.facts == {"versions": ["copy:2"]}
    with pytest.raises(InUse):
        delete_dataset(scene.platform, dataset=data.dataset)
    delete_dataset_version(scene.platform, dataset=other.dataset, version=1)
    delete_version(scene.platform, model="copy", version=2, reason="a test")
    delete_dataset_version(scene.platform, dataset=data.dataset, version=1)


def test_weights_that_come_back_are_marked_and_no_root_is_made_of_them(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog", forms=MANY)
    scene.learn(model, data)
    taught = scene.version(model, 2)
    erasure = erase(scene, entry_of(scene, data, Side.TRAIN).pixels, retraining=Retraining.NONE)
    delete_version(scene.platform, model=model.name, version=2, reason="a test")
    put(scene, taught, model)
    assert scene.version(model, 3).erasure == erasure.id
    with scene.platform.transactions() as work:
        work[Marks].add([scene.version(model, 1).digest], erasure.id)  # what `load` returns
        work.commit()
    fresh = an_unimported_model(scene, "fresh")
    scene.order(fresh, ImportOrder(base="bundled"))
    ended = scene.run()
    assert (ended.error or {})["code"] == "learned_erased_images"
    assert scene.versions(fresh) == []


def bundled(scene: Scene, model: Model, number: int) -> SignedBundle:
    """A bundle of a version that was trained likewise elsewhere, to other weights."""
    with scene.platform.transactions(read_only=True) as work:
        said = describe_line(work, model, work[Versions].get(model.id, number))
    version = replace(BundledVersion.of(said), digest=digest(f"elsewhere {number}"))
    statement = Statement(files={}, predicate=said)
    signer = Signer(name="lab", key_id="k")
    return SignedBundle(signer=signer, statement=statement, version=version)


def validating(scene: Scene, data: DatasetVersion, *sides: Side) -> Digest:
    """The pixels of a validation image on one of the sides."""
    entries = read_manifest(scene.platform.artifacts, data.manifest).entries
    return next(one.pixels for one in entries if one.part is Part.VALIDATION and one.side in sides)


@pytest.mark.parametrize("by", ["reference set", "holdout", "suite"])
def test_a_bundle_is_known_by_every_image_that_its_line_learned_from(scene: Scene, by: str) -> None:
    """By a reference set, and by what its mixing weight was chosen by; not by a mere holdout."""
    model, copy = scene.model(), scene.model("copy")
    suite = scene.frozen("sun", "moon", each=10, offset=50, forms=MANY)
    scene.suite(model, suite, "sky")
    data = scene.frozen("cat", "dog", each=10, forms=MANY)
    shown = scene.frozen("a cat", "a dog", kind=DatasetKind.CAPTIONED, offset=100, forms=MANY)
    scene.learn(
        model,
        data,
        recipe=Recipe(method=Method.ZSCL, mixing_choice=MixingChoice.VALIDATION),
        reference=DatasetRef(dataset=shown.dataset, version=1),
    )
    scene.learn(model, data, parent=1)
    chosen, other = (bundled(scene, model, number) for number in (2, 3))
    for number, bundle in ((2, chosen), (3, other)):
        learned_from = an_origin(*bundle.version.learned_from)
        version = scene.version(model, number)
        put(scene, version, copy, digest=bundle.version.digest, origin=learned_from)
    erased = {
        "reference set": entry_of(scene, shown, Side.TRAIN).pixels,
        "holdout": validating(scene, data, Side.HOLDOUT),
        "suite": validating(scene, suite, *Side),
    }
    erase(scene, erased[by], retraining=Retraining.NONE)
    assert (marks(scene, model), marks(scene, copy)) == ([False, True, False],) * 2
    with scene.platform.transactions(read_only=True) as work:
        require_unmarked(work, other)
        with pytest.raises(LearnedErasedImages):
            require_unmarked(work, chosen)


def grow(scene: Scene, model: Model, data: DatasetVersion) -> None:
    named = {"dataset": data.dataset, "dataset_version": data.number}
    grow_holdout(scene.platform, model=model.name, version=2, **named, reason="a test")


@pytest.mark.parametrize(
    "by", ["own holdout", "earlier holdout", "added before", "added after", "suite"]
)
def test_an_update_that_was_fitted_has_learned_from_suites_and_earlier_holdouts(
    scene: Scene, by: str
) -> None:
    """Their validation images have chosen its share; those of its own holdout have not."""
    model, copy = scene.model(), scene.model("copy")
    suite = scene.frozen("sun", "moon", each=10, offset=50, forms=MANY)
    scene.suite(model, suite, "sky")
    earlier = scene.frozen("cat", "dog", each=10, forms=MANY)
    own = scene.frozen("owl", "elk", each=10, offset=200, forms=MANY)
    scene.learn(model, earlier)
    before, after = (
        scene.frozen("cat", "dog", each=10, offset=offset, forms=MANY) for offset in (300, 400)
    )
    grow(scene, model, before)
    fit = Recipe(method=Method.FT, mixing_choice=MixingChoice.FIT)
    scene.learn(model, own, parent=2, recipe=fit)
    bundle = bundled(scene, model, 3)
    learned_from = an_origin(*bundle.version.learned_from)
    version = scene.version(model, 3)
    put(scene, version, copy, digest=bundle.version.digest, origin=learned_from)
    grow(scene, model, after)
    erased = {
        "added before": validating(scene, before, *Side),
        "added after": validating(scene, after, *Side),
        "own holdout": validating(scene, own, Side.HOLDOUT),
        "earlier holdout": validating(scene, earlier, Side.HOLDOUT),
        "suite": validating(scene, suite, *Side),
    }
    erase(scene, erased[by], retraining=Retraining.NONE)
    marked = by not in {"own holdout", "added after"}
    assert (marks(scene, model), marks(scene, copy)) == ([False, False, marked], [False, marked])


def test_a_retrained_version_with_the_same_weights_clears_the_mark_of_all_that_have_them(
    scene: Scene,
) -> None:
    model, copy = scene.model(), scene.model("copy")
    data = scene.frozen("cat", "dog", forms=MANY)
    scene.learn(model, data)
    put(scene, scene.version(model, 2), copy)
    erasure = erase(scene, entry_of(scene, data, Side.TRAIN).pixels)
    assert followed(scene, erasure).status is ErasureStatus.RETRAINING
    scene.script.tasks.clear()  # so that the next weights are the first again
    assert scene.run().status is JobStatus.SUCCEEDED
    assert (marks(scene, model), marks(scene, copy)) == ([False] * 3, [False] * 2)
    assert followed(scene, erasure).status is ErasureStatus.DONE
    assert [one["cleared"] for one in certify(scene.platform, erasure.id)["versions"]] == [True] * 2
    kept = scene.version(model, 3).feature_statistics
    assert scene.version(copy, 2).feature_statistics == kept != {}
    with scene.platform.transactions(read_only=True) as work:
        assert not work[Marks].of([scene.version(model, 2).digest])
        events = work[AuditTrail].page(9, None, AuditFilter(action=Action.VERSION_CLEARED))
    assert len(events) == 2
    # What is trained further replays what is left of the first lesson.
    scene.learn(copy, scene.frozen("owl", "elk", offset=50, forms=MANY), parent=2)


def test_weights_that_an_update_left_as_they_were_mark_no_other_version(scene: Scene) -> None:
    model, other = scene.model(), scene.model("other")
    scene.script.training = lambda _: scene.script.tasks.clear()
    root = scene.version(model, 1)
    data = scene.frozen("cat", "dog", forms=MANY)
    scene.learn(model, data)
    with scene.platform.transactions() as work:
        work.connection.exec_driver_sql(
            f"update versions set digest = '{root.digest}' where number = 2"
        )
        work.commit()
    erase(scene, entry_of(scene, data, Side.TRAIN).pixels, retraining=Retraining.NONE)
    assert (marks(scene, model), marks(scene, other)) == ([False, True], [False])


def test_a_version_that_is_marked_during_its_own_evaluation_does_not_go_live(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_judged_model(scene)
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS})
    data = scene.frozen("cat", "dog", each=15, offset=100, forms=MANY)

    answer, pixels = scene.script.answer, {entry_of(scene, data, Side.TRAIN).pixels}

    def erase_and_answer(*asked: Any) -> Any:
        while pixels:
            erase(scene, pixels.pop(), retraining=Retraining.NONE)
        return answer(*asked)

    monkeypatch.setattr(scene.script, "answer", erase_and_answer)
    scene.update(model, data)
    ended = scene.run()
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    assert scene.version(model, 2).verdict is Verdict.PASSED
    assert (ended.result or {})["promotion"]["reason"] == "learned_erased_images"
    assert scene.live(model) == 1
