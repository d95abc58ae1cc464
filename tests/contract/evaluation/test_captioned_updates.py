"""Updates of captions: what they are judged by, what guards them later, and what is refused."""

import io
from collections.abc import Callable, Collection, Sequence
from typing import Any
from unittest.mock import Mock

import pytest

from core.advice.advise import advise
from core.blame.order import order_blame
from core.bundles.evidence import read_evidence
from core.bundles.signing import Signatures
from core.bundles.write_evidence import write_evidence
from core.datasets.freeze import freeze, read_manifest
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind, DatasetRef, DatasetVersion
from core.datasets.thumbnail_rows import PlacedGroups
from core.erasure.rules import Retraining
from core.errors import FieldInvalid, ImageInSuite, PerennialError, RecipeInvalid
from core.evaluation.answers import Answers
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.gate.kinds import ClassList, MeasureKind
from core.gate.rules import Verdict
from core.jobs.orders import BlameOrder, ConvertOrder, EvaluateOrder
from core.jobs.rules import JobStatus, Monitor
from core.recipes.fields import Method, MixingChoice
from core.recipes.rules import Recipe
from core.registry.evidence import grow_holdout
from core.registry.versions import Model, ServingPrecision
from core.training.order import order_update
from core.values import Digest
from tests.support.bundles import OURS
from tests.support.erasures import erase
from tests.support.evaluation.judged import (
    CATS,
    OWLS,
    SUITES,
    a_judged_model,
    go_live,
    report,
    update,
)
from tests.support.factories import NOW, a_dataset, a_row, by_hash, pixels_on
from tests.support.notifiers import SilentNotifier
from tests.support.ordering import ME, an_order
from tests.support.scene import Scene, answered

CAPTIONS = ("a cat on a mat", "two dogs", "snow")


def captioned(scene: Scene, *texts: str, offset: int = 700, **options: int) -> DatasetVersion:
    each = options.pop("each", 15)
    kind = DatasetKind.CAPTIONED
    return scene.frozen(*texts or CAPTIONS, each=each, offset=offset, kind=kind, **options)


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_judged_model(scene)


def finding(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch, knowing: Collection[int]
) -> None:
    """Let some versions find captions and their images; all are right about classes."""

    def answer(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        (number,) = [v.number for v in scene.versions(model) if v.digest == version]
        lost = 0 if number not in knowing else 10
        return [answered(q, known=lost if isinstance(q, RetrievalQuery) else 10) for q in questions]

    monkeypatch.setattr(scene.script, "answer", answer)


# ---- Judged ---------------------------------------------------------------------------------


def test_captions_are_learned_if_more_is_found_in_both_directions_together(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding(scene, model, monkeypatch, knowing={2})
    scene.learn(model, captioned(scene))
    version, found = scene.version(model, 2), report(scene, model, 2)
    assert (version.verdict, version.taught_captions, version.classes) == (Verdict.PASSED, True, ())
    assert (version.is_conversion, found.captions, found.converted) == (False, True, False)
    gain, first_five = [one for one in found.measures if one.kind is MeasureKind.GAIN]
    assert (gain.depth, first_five.depth, first_five.right) == (1, 5, gain.right)
    images = found.images["version 2"]
    assert (gain.images, gain.distinct, gain.count) == (images, images, 2 * images)
    assert (gain.right_before, gain.right, gain.classes) == (0, 2 * images, None)
    assert f"of {2 * images} answers about held-out test images" in found.summary.learned
    assert {(row.suite, row.role, row.at_1) for row in found.recalls} == {
        ("version 2", "candidate", 1.0),
        ("version 2", "parent", 0.0),
        ("version 2", "root", 0.0),
    }


def test_an_update_that_finds_no_more_captions_than_its_parent_does_not_pass(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding(scene, model, monkeypatch, knowing={1})
    scene.learn(model, captioned(scene))
    assert scene.version(model, 2).verdict is Verdict.FAILED


@pytest.mark.parametrize("teaches", ["classes", "captions"])
def test_whoever_forgets_captions_that_were_taught_does_not_pass(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch, teaches: str
) -> None:
    finding(scene, model, monkeypatch, knowing={2})
    scene.learn(model, captioned(scene))
    if teaches == "classes":
        update(scene, model, *CATS)
    else:
        scene.learn(model, captioned(scene, "rain", "fog", offset=800))
    found = report(scene, model, 3)
    assert scene.version(model, 3).verdict is Verdict.FAILED
    lost = {
        (one.kind, one.name, one.baseline): one.difference
        for one in found.measures
        if one.name == "version 2" and (one.depth, one.asked) == (1, "own")
    }
    assert lost == {
        (kind, "version 2", "parent and settled version"): -1.0
        for kind in (MeasureKind.IMAGE_TO_TEXT, MeasureKind.TEXT_TO_IMAGE)
    }
    assert any("R@1 on the holdout of version 2" in reason for reason in found.reasons)


def test_a_version_beside_the_line_may_not_lose_what_the_live_one_has_learned_of_captions(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding(scene, model, monkeypatch, knowing={2})
    scene.learn(model, captioned(scene))
    update(scene, model, *CATS, parent=1)
    found = report(scene, model, 3)
    assert scene.version(model, 3).verdict is Verdict.FAILED
    own = [one for one in found.measures if one.asked is ClassList.OWN]
    asked = {one.baseline for one in own if one.name == "version 2"}
    assert asked == {"live version and settled version"}
    with pytest.raises(PerennialError):
        go_live(scene, model, 3, reason="classes are what counts")


def test_evidence_shows_digests_in_place_of_captions_and_the_verdict_follows_from_it(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding(scene, model, monkeypatch, knowing={2, 3})
    scene.learn(model, captioned(scene))
    update(scene, model, *CATS)
    for number in (2, 3):
        version = scene.version(model, number)
        assert version.report is not None
        written = write_evidence(
            scene.platform, Signatures(OURS.private, {}), version, version.report
        )
        read = read_evidence(io.BytesIO(written))
        assert read.differences() == []
        assert "version 2" in {one["name"] for one in read.facts["images"]}
        assert "a cat on a mat" not in str(read.parts)


def test_after_an_erasure_versions_without_weights_are_no_baseline(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gallery has changed, so every rank may have; parent and live version answer anew."""
    finding(scene, model, monkeypatch, knowing={2, 3})
    data = captioned(scene, forms=1000)
    scene.learn(model, data)
    held_out = read_manifest(scene.platform.artifacts, data.manifest).on(Side.HOLDOUT)
    update(scene, model, *CATS)
    erase(scene, held_out[0].pixels, held_out[-1].pixels, retraining=Retraining.NONE)
    scene.order(model, EvaluateOrder(version=3))
    ended = scene.run()
    assert ended.status is JobStatus.SUCCEEDED, ended.error


def test_a_conversion_of_what_was_taught_captions_is_asked_about_them(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding(scene, model, monkeypatch, knowing={2})
    scene.learn(model, captioned(scene))
    scene.order(model, ConvertOrder(precision=ServingPrecision.BF16))
    scene.run()
    version = scene.version(model, 3)
    assert (version.is_conversion, version.taught_captions) == (True, False)
    assert version.verdict is Verdict.FAILED


# ---- Classes and captions in one update ----------------------------------------------------


def named(data: DatasetVersion) -> DatasetRef:
    return DatasetRef(dataset=data.dataset, version=data.number)


def teach_both(scene: Scene, model: Model, **changes: Any) -> None:
    """Teach cats by their class and other images by captions, as version 2."""
    beside = named(captioned(scene))
    update(scene, model, *CATS, captions=beside, recipe=Recipe(method=Method.REPLAY), **changes)


def gaining(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch, *, classes: int, captions: int
) -> None:
    """Let version 2 and later ones be right about more of ten answers about what is taught."""

    def answer(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        learned = version != scene.version(model, 1).digest
        found = []
        for asked in questions:
            known = captions if isinstance(asked, RetrievalQuery) else classes
            suite = isinstance(asked, ClassQuery) and asked.entries[0].class_name in SUITES
            found.append(answered(asked, known=10 if suite else learned * known))
        return found

    monkeypatch.setattr(scene.script, "answer", answer)


@pytest.mark.parametrize(
    ("classes", "captions", "verdict"),
    [
        (8, 8, Verdict.PASSED),
        (8, 0, Verdict.INCONCLUSIVE),
        (0, 8, Verdict.INCONCLUSIVE),
    ],
)
def test_an_update_of_classes_and_captions_has_to_gain_in_both(
    scene: Scene,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    classes: int,
    captions: int,
    verdict: Verdict,
) -> None:
    gaining(scene, model, monkeypatch, classes=classes, captions=captions)
    teach_both(scene, model)
    version, found = scene.version(model, 2), report(scene, model, 2)
    assert version.verdict is verdict, found.reasons
    assert (version.classes, version.taught_captions, found.captions) == (CATS, True, True)
    gains = [one for one in found.measures if one.kind is MeasureKind.GAIN]
    told = [(one.both_directions, one.depth) for one in gains]
    assert told == [(True, 1), (True, 5), (False, 1)]
    assert {"version 2", "version 2, captions"} <= found.images.keys()
    assert "It was taught 2 classes (cat, dog)" in found.summary.learned
    assert "It was taught captions: of" in found.summary.learned
    if verdict is Verdict.PASSED:
        assert "on its own holdout of captions" in found.reasons[-1]


def test_later_updates_are_asked_about_both_and_keep_images_of_both(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaining(scene, model, monkeypatch, classes=8, captions=8)
    teach_both(scene, model)
    taught = scene.script.tasks[-1]
    assert {entry.class_name for entry in taught.images} == set(CATS)
    assert {text for entry in taught.captioned for text in entry.texts} == set(CAPTIONS)
    update(scene, model, *OWLS, recipe=Recipe(method=Method.REPLAY))
    spec, found = scene.script.tasks[-1], report(scene, model, 3)
    assert (spec.exemplars, spec.captioned_exemplars) == (taught.images, taught.captioned)
    asked = {(one.kind, one.name) for one in found.measures if one.name.startswith("version 2")}
    assert asked == {
        (MeasureKind.HOLDOUT, "version 2"),
        (MeasureKind.IMAGE_TO_TEXT, "version 2, captions"),
        (MeasureKind.TEXT_TO_IMAGE, "version 2, captions"),
    }
    for number in (2, 3):
        version = scene.version(model, number)
        assert version.report is not None
        written = write_evidence(
            scene.platform, Signatures(OURS.private, {}), version, version.report
        )
        assert read_evidence(io.BytesIO(written)).differences() == []


def test_captions_beside_classes_are_repeated_without_an_erased_image(
    scene: Scene, model: Model
) -> None:
    data = captioned(scene, forms=1000)
    update(scene, model, *CATS, captions=named(data))
    gone, *left = read_manifest(scene.platform.artifacts, data.manifest).on(Side.TRAIN)
    erase(scene, gone.pixels)
    assert scene.version(model, 2).erasure is not None
    assert scene.run().status is JobStatus.SUCCEEDED
    again, spec = scene.version(model, 3), scene.script.tasks[-1]
    assert (again.replaces, again.update_classes) == (2, CATS)
    assert again.captions == DatasetRef(dataset=data.dataset, version=2)
    assert {one.pixels for one in spec.captioned} == {one.pixels for one in left}


def test_captions_that_an_update_has_taught_beside_classes_are_not_deleted(
    scene: Scene, model: Model
) -> None:
    data = captioned(scene)
    update(scene, model, *CATS, captions=named(data))
    with scene.platform.transactions(read_only=True) as work:
        assert work[Datasets].uses(data.dataset).versions == [f"{model.name}:2"]


def only_trained(scene: Scene) -> DatasetVersion:
    """Captions of which no image is held out."""
    dataset = a_dataset(kind=DatasetKind.CAPTIONED)
    with scene.platform.transactions() as work:
        work[Datasets].add(dataset)
        trained = pixels_on(Side.TRAIN, 740)[737:]
        rows = [a_row(dataset, one, text) for text, one in zip(CAPTIONS, trained, strict=True)]
        work[Datasets].add_images(dataset.id, rows)
        work[PlacedGroups].add(by_hash(trained))
        version = freeze(work, scene.platform.artifacts, dataset, NOW)
        work.commit()
    return version


@pytest.mark.parametrize(
    ("beside", "pointer", "told"),
    [
        (lambda scene: scene.frozen("owl", "elk", offset=900), "/captions/dataset", "a captioned"),
        (lambda scene: captioned(scene, "snow"), "/captions", "different captions"),
        (only_trained, "/captions", "no test image"),
    ],
)
def test_captions_beside_classes_that_cannot_be_learned_or_shown_are_refused(
    scene: Scene,
    model: Model,
    beside: Callable[[Scene], DatasetVersion],
    pointer: str,
    told: str,
) -> None:
    order = an_order(scene.frozen(*CATS), captions=named(beside(scene)))
    with pytest.raises(FieldInvalid, match=told) as refused:
        order_update(scene.platform, SilentNotifier(), ME, model=model.name, order=order)
    assert refused.value.pointer == pointer


def test_two_datasets_of_captions_are_refused(scene: Scene, model: Model) -> None:
    order = an_order(captioned(scene), captions=named(captioned(scene, "rain", "fog", offset=800)))
    with pytest.raises(FieldInvalid, match="has captions itself"):
        order_update(scene.platform, SilentNotifier(), ME, model=model.name, order=order)


# ---- Trained --------------------------------------------------------------------------------


def test_images_of_earlier_updates_stand_by_with_their_classes_or_captions(
    scene: Scene, model: Model
) -> None:
    update(scene, model, *CATS)
    scene.learn(model, captioned(scene), parent=2, recipe=Recipe(method=Method.REPLAY))
    spec = scene.script.tasks[-1]
    assert (spec.images, spec.captions_before, spec.classes) == ((), False, ())
    assert {text for entry in spec.captioned for text in entry.texts} == set(CAPTIONS)
    assert {entry.class_name for entry in spec.exemplars} == set(CATS)
    assert spec.captioned_exemplars == ()
    taught = spec.captioned
    more = scene.frozen("owl", "elk", offset=900)
    scene.learn(model, more, parent=3, recipe=Recipe(method=Method.REPLAY))
    spec = scene.script.tasks[-1]
    assert (spec.captioned, spec.captions_before) == ((), True)
    assert {entry.class_name for entry in spec.exemplars} == set(CATS)
    assert spec.captioned_exemplars == taught
    scene.learn(model, captioned(scene, "rain", "fog", offset=800), parent=3)
    assert scene.script.tasks[-1].captioned_exemplars == taught


def test_an_update_of_captions_is_repeated_without_an_erased_image(
    scene: Scene, model: Model
) -> None:
    data = captioned(scene, forms=1000)
    scene.learn(model, data)
    gone, *left = read_manifest(scene.platform.artifacts, data.manifest).on(Side.TRAIN)
    erase(scene, gone.pixels)
    assert scene.run().status is JobStatus.SUCCEEDED
    spec = scene.script.tasks[-1]
    assert {one.pixels for one in spec.captioned} == {e.pixels for e in left}
    assert scene.version(model, 3).replaces == 2


# ---- Refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice", [MixingChoice.FIT, MixingChoice.VALIDATION, MixingChoice.PER_LAYER]
)
def test_a_mixing_choice_that_weighs_classes_is_refused(
    scene: Scene, model: Model, choice: MixingChoice
) -> None:
    order = an_order(captioned(scene), recipe=Recipe(mixing_choice=choice))
    with pytest.raises(RecipeInvalid, match="this update teaches captions"):
        order_update(scene.platform, SilentNotifier(), ME, model=model.name, order=order)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (lambda scene: captioned(scene, "snow"), "different captions"),
        (
            lambda scene: scene.frozen("", offset=700, kind=DatasetKind.UNLABELLED),
            "a labelled or a captioned dataset",
        ),
    ],
)
def test_what_no_caption_can_be_learned_of_is_refused(
    scene: Scene, model: Model, data: Callable[[Scene], DatasetVersion], told: str
) -> None:
    with pytest.raises(FieldInvalid, match=told):
        order_update(
            scene.platform, SilentNotifier(), ME, model=model.name, order=an_order(data(scene))
        )


def test_a_prompt_that_nothing_would_measure_is_refused(scene: Scene, model: Model) -> None:
    order = an_order(captioned(scene), prompt="not at all a {name}")
    with pytest.raises(FieldInvalid, match="keeps the prompt of its parent") as refused:
        order_update(scene.platform, SilentNotifier(), ME, model=model.name, order=order)
    assert refused.value.pointer == "/prompt"
    assert scene.learn(model, captioned(scene), prompt=scene.version(model, 1).prompt.text)


def test_captions_of_a_suite_are_not_taught(scene: Scene, model: Model) -> None:
    data = captioned(scene)
    scene.suite(model, data, name="found")
    with pytest.raises(ImageInSuite):
        order_update(scene.platform, SilentNotifier(), ME, model=model.name, order=an_order(data))


def test_no_class_is_to_blame_and_no_class_joins_the_holdout(scene: Scene, model: Model) -> None:
    scene.learn(model, captioned(scene))
    order = BlameOrder(version=2, class_name="cat")
    with pytest.raises(FieldInvalid, match="was taught captions"):
        order_blame(scene.platform, SilentNotifier(), ME, model=model.name, order=order)
    more = scene.frozen("cat", "dog", offset=900)
    with pytest.raises(FieldInvalid, match="was taught no class"):
        grow_holdout(
            scene.platform,
            model=model.name,
            version=2,
            dataset=more.dataset,
            dataset_version=more.number,
            reason="a test",
        )


def test_advice_counts_images_and_asks_the_parent_nothing(scene: Scene, model: Model) -> None:
    asked = Mock()
    found = advise(
        scene.platform, asked, Mock(), model=model.name, order=an_order(captioned(scene))
    )
    assert not asked.mock_calls
    assert found.classes == ()
    told = {one.code: one.facts for one in found.findings}
    assert told["images"]["train"] == 45
    assert told["images"]["test"] > 0
