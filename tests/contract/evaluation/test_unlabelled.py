"""A suite from unlabelled images: who labels it, what labels decide, what an erasure takes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from core.artifacts.store import Artifacts
from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.database.tables import suite_labels
from core.database.work import Rows
from core.datasets import labels
from core.datasets.freeze import read_manifest
from core.datasets.labels import LabelOutcome, SuiteLabels, label_images
from core.datasets.manifests import Manifest
from core.datasets.rules import DatasetKind, Suite, SuiteKind
from core.datasets.suites import create_suite
from core.datasets.version_rows import Suites
from core.errors import (
    ClassInvalid,
    EvaluationPending,
    FieldInvalid,
    Forbidden,
    GateFailed,
    ImageInSuite,
    ImageLabelled,
    ImageNotFound,
    SuiteRetired,
)
from core.evaluation.answers import Answers, ClassAnswers
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.to_label import images_to_label
from core.gate.levels import LOOK_SHARES
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import JobStatus, Monitor
from core.principal import Principal, Role
from core.registry.configure import configure_model
from core.registry.verdict_rows import Verdicts
from core.registry.versions import Model
from core.upkeep.delete import retire_suite
from core.values import Digest
from tests.support.erasures import erase
from tests.support.evaluation.judged import go_live, judged_by, report, update
from tests.support.scene import Scene, answered

PETS = ("cat", "dog")
LEAST = 40  # images for which labels have to speak


def truth(pixels: Digest) -> str:
    return PETS[int(pixels[:8], 16) % 2]


def turns(pixels: Digest) -> int:
    """A number by which answers change from version to version."""
    return int(pixels[8:16], 16)


@pytest.fixture
def model(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Model:
    made = scene.model()
    judged_by(scene, made, minimum_count=LEAST, parent_tolerance=0.2, root_tolerance=0.2)
    a_suite(scene)
    configure_model(scene.platform, made.name, suites=["shelf"], policy=None)
    answering(scene, made, monkeypatch, {2: 5})
    return made


def a_suite(scene: Scene, name: str = "shelf", *, offset: int = 500, **changes: Any) -> Suite:
    data = scene.frozen("", each=75, offset=offset, kind=DatasetKind.UNLABELLED)
    given: dict[str, Any] = {
        "kind": SuiteKind.UNLABELLED,
        "classes": ["dog", "cat", "yak"],
        **changes,
    }
    return create_suite(
        scene.platform, name=name, dataset=data.dataset, dataset_version=data.number, **given
    )


def answering(
    scene: Scene,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[int, int],
    *,
    among_all: bool = False,
) -> None:
    """Let a version be wrong about one of so many unlabelled images, and right about the others.

    With `among_all`, it is wrong about each where it may choose from all learned classes.
    """

    def answer(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        [number] = [v.number for v in scene.versions(model) if v.digest == version]
        return [said(question, number) for question in questions]

    def said(question: EvalQuery, number: int) -> Answers:
        if not isinstance(question, ClassQuery) or any(e.class_name for e in question.entries):
            return answered(question, known=10 if number > 1 else 3)
        each = wrong.get(number, 0)
        if each and among_all and len(question.classes) > 3:
            each = 1
        right = [question.classes.index(truth(one.pixels)) for one in question.entries]
        hits = [not each or turns(one.pixels) % each > 0 for one in question.entries]
        rows = zip(right, hits, strict=True)
        return ClassAnswers(predicted=tuple(one if hit else 1 - one for one, hit in rows))

    monkeypatch.setattr(scene.script, "answer", answer)


def evaluate(scene: Scene, model: Model, version: int = 2) -> str:
    scene.order(model, EvaluateOrder(version=version))
    ended = scene.run()
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    return str(ended.result["verdict"])


def waiting(scene: Scene, version: str = "demo:2", suite: str = "shelf") -> list[Digest]:
    _, found = images_to_label(scene.platform, suite=suite, reference=version)
    return [entry.pixels for entry in found]


def label(
    scene: Scene, *pixels: Digest, right: bool = True, suite: str = "shelf"
) -> list[LabelOutcome | None]:
    given = [(one, truth(one) if right else "yak") for one in pixels]
    return [one.outcome for one in label_images(scene.platform, suite=suite, labels=given)]


def on_shelf(scene: Scene, model: Model) -> list[Any]:
    return [one for one in report(scene, model, 2).measures if one.name == "shelf"]


def test_a_version_that_lost_fails_by_labels_of_disagreements_alone(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(scene, model, monkeypatch, {2: 2})
    update(scene, model, "owl", "elk")
    assert scene.version(model, 2).verdict == "inconclusive"
    assert not on_shelf(scene, model)
    with pytest.raises(GateFailed):
        go_live(scene, model, 2)
    asked = waiting(scene)
    with scene.platform.transactions(read_only=True) as work:
        suite = work[Suites].get("shelf")
    assert len(asked) < suite.images
    assert label(scene, *asked) == [LabelOutcome.ADDED] * len(asked)
    assert not waiting(scene)
    assert evaluate(scene, model) == "failed"
    assert {one.difference for one in on_shelf(scene, model)} == {
        -len(asked) / on_shelf(scene, model)[0].images
    }
    with pytest.raises(GateFailed):
        go_live(scene, model, 2, reason="it is pretty")


def test_a_version_that_did_not_lose_passes_once_labels_speak_for_enough_images(
    scene: Scene, model: Model
) -> None:
    update(scene, model, "owl", "elk")
    assert scene.version(model, 2).verdict == "inconclusive"
    label(scene, *waiting(scene), right=False)  # neither version is right: no loss
    assert evaluate(scene, model) == "passed"
    go_live(scene, model, 2)


def test_more_labels_are_no_other_look_and_those_between_the_fixed_numbers_do_not_count(
    scene: Scene, model: Model
) -> None:
    judged_by(
        scene, model, minimum_count=LEAST, alpha=0.005, parent_tolerance=0.02, root_tolerance=0.02
    )
    update(scene, model, "owl", "elk", auto_promote=False)
    asked = waiting(scene)
    half = (len(asked) + 1) // 2
    label(scene, asked[0], right=False)
    assert evaluate(scene, model) == "inconclusive"
    assert not on_shelf(scene, model)
    for some in (asked[1:half], asked[half:-1]):
        label(scene, *some, right=False)
        assert evaluate(scene, model) == "inconclusive"
        assert {one.disagreements.labelled for one in on_shelf(scene, model)} == {half}
    label(scene, asked[-1], right=False)
    evaluate(scene, model)
    assert {(one.look, one.level) for one in on_shelf(scene, model)} == {
        (1, 0.005 * LOOK_SHARES[0] / 2)
    }
    with scene.platform.transactions(read_only=True) as work:
        newest = work[Verdicts].on(model.id, 2)[-1]
        shelf = work[Suites].get("shelf").id
    seen = (half, len(asked) - 1, len(asked))
    assert newest.labels == tuple(sorted(f"{n} of {shelf}" for n in seen))


def test_another_suite_of_the_same_images_takes_another_look_in_an_order_of_its_own(
    scene: Scene, model: Model
) -> None:
    """Or else whoever labels would make suites until one of them looks well."""
    update(scene, model, "owl", "elk", auto_promote=False)
    first = waiting(scene)
    label(scene, *first)
    evaluate(scene, model)
    a_suite(scene, "again")
    configure_model(scene.platform, model.name, suites=["again"], policy=None, reason="once more")
    evaluate(scene, model)
    asked = waiting(scene, suite="again")
    assert sorted(asked) == sorted(first)
    label(scene, *asked, suite="again")
    evaluate(scene, model)
    looks = {one.name: one.look for one in report(scene, model, 2).measures}
    assert looks["again"] == 2


def test_a_failure_stands_whatever_is_labelled_later(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(scene, model, monkeypatch, {2: 2})
    update(scene, model, "owl", "elk")
    asked = waiting(scene)
    most = 3 * len(asked) // 4
    label(scene, *asked[:most])
    assert evaluate(scene, model) == "failed"
    label(scene, *asked[most:], right=False)
    assert evaluate(scene, model) == "failed"
    assert "has failed before under this policy" in report(scene, model, 2).reasons[0]


def test_a_failure_by_one_comparison_stands_where_another_had_too_few_labels(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(scene, model, monkeypatch, {2: 2}, among_all=True)
    update(scene, model, "owl", "elk")
    asked = [one for one in waiting(scene) if turns(one) % 2 == 0]  # also with the own classes
    most = 3 * len(asked) // 4
    label(scene, *asked[:most])
    assert evaluate(scene, model) == "failed"
    assert report(scene, model, 2).to_label
    label(scene, *asked[most:], right=False)
    evaluate(scene, model)
    assert "has failed before under this policy" in report(scene, model, 2).reasons[0]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("validation", ImageNotFound),
        ("unknown", ImageNotFound),
        ("class", ClassInvalid),
        ("again", ImageLabelled),
    ],
)
def test_a_label_that_is_refused_leaves_the_others(
    scene: Scene, model: Model, wrong: str, error: type[Exception]
) -> None:
    update(scene, model, "owl", "elk")
    first, second, *_ = waiting(scene)
    with scene.platform.transactions(read_only=True) as work:
        manifest = read_manifest(scene.platform.artifacts, work[Suites].get("shelf").manifest)
    aside = next(one.pixels for one in manifest.entries if one.part == "validation")
    label(scene, first)
    other = PETS[1 - PETS.index(truth(first))]
    bad = {
        "validation": (aside, "cat"),
        "unknown": ("0" * 64, "cat"),
        "class": (second, "owl"),
        "again": (first, other),
    }[wrong]
    good = (second, truth(second).upper()) if wrong != "class" else (first, truth(first))
    refused, kept = label_images(scene.platform, suite="shelf", labels=[bad, good])
    assert isinstance(refused.refusal, error)
    assert kept.refusal is None
    with scene.platform.transactions(read_only=True) as work:
        found = work[SuiteLabels].of(work[Suites].get("shelf").id)
    assert found[first] == truth(first)
    assert found.get(second) == (None if wrong == "class" else truth(second))
    assert len(found) == 1 + (wrong != "class")


def test_labels_are_given_once_by_whoever_may_judge_every_model_and_are_audited(
    scene: Scene, model: Model
) -> None:
    update(scene, model, "owl", "elk")
    first, *_ = waiting(scene)
    limited = Principal(name="limited", role=Role.ADMIN, models=frozenset({model.id}))
    theirs = replace(scene.platform, transactions=scene.platform.transactions.on_behalf_of(limited))
    with pytest.raises(Forbidden):
        label_images(theirs, suite="shelf", labels=[(first, "cat")])
    assert label(scene, first) == [LabelOutcome.ADDED]
    assert label(scene, first) == [LabelOutcome.REPEATED]
    with scene.platform.transactions(read_only=True) as work:
        [event] = work[AuditTrail].page(9, None, AuditFilter(action=Action.SUITE_LABELLED))
    assert event.change.subject == "suites/shelf"
    assert event.change.after["labels"] == 1
    configure_model(scene.platform, model.name, suites=[], policy=None, reason="done")
    retire_suite(scene.platform, suite="shelf")
    with pytest.raises(SuiteRetired):
        label(scene, first)


def test_images_of_an_unlabelled_suite_are_never_taught(scene: Scene, model: Model) -> None:
    with pytest.raises(ImageInSuite):
        scene.frozen("cat", "dog", each=20, offset=500)  # the same images, with classes


def test_an_erasure_deletes_labels_and_the_evidence_that_has_them(
    scene: Scene, model: Model
) -> None:
    update(scene, model, "owl", "elk")
    asked = waiting(scene)
    label(scene, *asked)
    evaluate(scene, model)
    erase(scene, asked[0])
    with scene.platform.transactions(read_only=True) as work:
        found = work[SuiteLabels].of(work[Suites].get("shelf").id)
        assert work[LabelCount].of(asked[0]) == 0
    assert {*found} == {*asked[1:]}
    with pytest.raises(EvaluationPending):
        waiting(scene)
    evaluate(scene, model)
    assert not waiting(scene)


def test_an_image_that_is_erased_while_it_is_labelled_gets_no_label(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suite's images are read while others may write, here an erasure."""
    update(scene, model, "owl", "elk")
    first, second, *_ = waiting(scene)

    def read(artifacts: Artifacts, digest: Digest) -> Manifest:
        manifest = read_manifest(artifacts, digest)
        erase(scene, first)
        return manifest

    monkeypatch.setattr(labels, "read_manifest", read)
    pairs = [(one, truth(one)) for one in (first, second)]
    refused, kept = label_images(scene.platform, suite="shelf", labels=pairs)
    assert isinstance(refused.refusal, ImageNotFound)
    assert kept.outcome is LabelOutcome.ADDED


class LabelCount(Rows):
    def of(self, pixels: Digest) -> int:
        count = sa.select(sa.func.count()).where(suite_labels.c.pixels == pixels)
        return int(self._connection.scalar(count) or 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": []},
        {"classes": ["cat", "CAT"]},
        {"kind": SuiteKind.ZERO_SHOT},
        {"mirror": True},
    ],
)
def test_an_unlabelled_suite_needs_unlabelled_images_and_the_classes_to_choose_from(
    scene: Scene, changes: dict[str, Any]
) -> None:
    with pytest.raises(FieldInvalid):
        a_suite(scene, **changes)
    with scene.platform.transactions(read_only=True) as work:
        assert not work[Suites].page(9, None)
