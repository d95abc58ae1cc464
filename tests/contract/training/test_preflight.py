"""Jobs that could not start are refused when they are ordered."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from core.bases.create_model import create_model
from core.datasets.freeze import freeze_version
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind, DatasetRef
from core.errors import (
    AliasNotFound,
    ArtifactGone,
    BaseUnknown,
    DatasetVersionNotFound,
    FieldInvalid,
    HoldoutBiased,
    ImportFailed,
    ModelNotTrainable,
    PerennialError,
    PromptInvalid,
    RecipeInvalid,
    TooFewClasses,
    TooFewPerClass,
    VersionNotFound,
)
from core.evaluation.order import order_evaluation
from core.gate.rules import Verdict
from core.job_types.retry import retry_job
from core.jobs.orders import UpdateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.recipes.fields import LabelSpace, Method, MixingChoice, TeacherPolicy
from core.recipes.rules import Recipe
from core.registry.configure import configure_model
from core.registry.default_recipe import default_recipe
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.training.order import order_update
from core.values import DatasetId, Digest
from tests.support.api.seeds import a_candidate, some_weights
from tests.support.factories import NOW, a_dataset, a_row, digest
from tests.support.notifiers import RecordingNotifier
from tests.support.ordering import ME, a_teachable_model, an_order
from tests.support.scene import Scene, nothing


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_teachable_model(scene)


def test_a_reference_set_is_named_by_its_id(
    scene: Scene, notifier: RecordingNotifier, model: Model
) -> None:
    seen = scene.frozen("red", "blue", offset=40)
    with scene.platform.transactions(read_only=True) as work:
        name = work[Datasets].get(seen.dataset).name
    order = an_order(
        scene.frozen("owl", "elk"),
        recipe=Recipe(method=Method.ZSCL),
        reference=DatasetRef(dataset=DatasetId(name), version=1),
    )
    job = order_update(scene.platform, notifier, ME, model=model.name, order=order)
    known = DatasetRef(dataset=seen.dataset, version=1)
    assert job.order == replace(order, reference=known)
    asked = scene.frozen("sand", "mud", offset=60)
    scene.suite(model, asked, "asked")
    for reference, refusal in (
        (replace(known, version=2), DatasetVersionNotFound),
        (DatasetRef(dataset=asked.dataset, version=1), FieldInvalid),  # all are in a suite
    ):
        wrong = replace(order, reference=reference)
        with pytest.raises(refusal):
            order_update(scene.platform, notifier, ME, model=model.name, order=wrong)


def test_an_update_is_ordered_before_its_model_has_a_root_unless_the_import_has_failed(
    scene: Scene, notifier: RecordingNotifier
) -> None:
    job = create_model(scene.platform, notifier, ME, name="new", base="bundled")
    order = an_order(scene.frozen("owl", "elk"))
    assert order_update(scene.platform, notifier, ME, model="new", order=order).order == order
    scene.script.training = Mock(side_effect=BaseUnknown)
    assert scene.run().status is JobStatus.FAILED
    with pytest.raises(ImportFailed) as told:
        order_update(scene.platform, notifier, ME, model="new", order=order)
    assert told.value.facts == {"model": "new", "job": job.id}
    scene.script.training = nothing
    retry_job(scene.platform, notifier, ME, job.id)
    assert order_update(scene.platform, notifier, ME, model="new", order=order).order == order


def test_an_update_that_waits_for_its_models_import_has_the_default_of_what_was_imported(
    scene: Scene, notifier: RecordingNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The imported weights say that they are of the size of a ViT-B."""
    weights = some_weights(scene.platform, 1)
    large = replace(
        weights, tensors=tuple(replace(one, shape=(75_000_000,)) for one in weights.tensors)
    )
    scene.platform.artifacts.put(large.to_bytes())
    monkeypatch.setattr(scene.script, "load", lambda *_: (large, "a {name}"))
    create_model(scene.platform, notifier, ME, name="new", base="bundled")
    plain = an_order(scene.frozen("owl", "elk"), given={"epochs": 2}, recipe=Recipe(epochs=2))
    high = {"learning_rate": 3e-4}
    harsh = replace(plain, given=high, recipe=Recipe.from_json(high))
    for order in (plain, harsh, replace(harsh, force=True)):
        assert order_update(scene.platform, notifier, ME, model="new", order=order).order == order
    scene.run()
    ended = [scene.run() for _ in range(3)]
    with scene.platform.transactions(read_only=True) as work:
        model = work[Models].get("new")
    assert model.default_recipe == default_recipe({}, 150_000_000)
    first = ended[0].order
    assert isinstance(first, UpdateOrder)
    made = scene.version(model, 2).recipe
    assert made == replace(first.recipe, precision=made.precision)
    assert (first.given, first.recipe.epochs, first.recipe.learning_rate) == (None, 2, 1e-5)
    assert (ended[1].status, ended[1].error["code"]) == (JobStatus.FAILED, "recipe_unsafe")
    assert scene.version(model, 3).recipe.learning_rate == 3e-4


@pytest.mark.parametrize(
    ("parent", "space", "enough"),
    [(1, "session", False), (2, "session", False), (1, "seen", False), (2, "seen", True)],
)
def test_one_class_is_enough_where_those_that_were_learned_before_compete(
    scene: Scene, notifier: RecordingNotifier, model: Model, parent: int, space: str, enough: bool
) -> None:
    recipe = Recipe(method=Method.VRLWF, label_space=LabelSpace(space))
    order = an_order(scene.frozen("owl"), recipe=recipe, parent=parent)
    with nullcontext() if enough else pytest.raises(TooFewClasses):
        assert order_update(scene.platform, notifier, ME, model=model.name, order=order)


def test_a_refused_class_is_told_of_the_version_that_is_not_live_and_knows_others(
    scene: Scene, notifier: RecordingNotifier, model: Model
) -> None:
    order = an_order(scene.frozen("owl"))
    a_candidate(scene.platform, model)  # of the root too, as a conversion that was taught nothing
    with pytest.raises(TooFewClasses) as told:
        order_update(scene.platform, notifier, ME, model=model.name, order=order)
    assert told.value.facts == {"version": 2}
    assert "promote it with a reason, train from it (parent 2)" in told.value.message
    assert order_update(
        scene.platform, notifier, ME, model=model.name, order=replace(order, parent=2)
    )
    with scene.platform.transactions() as work:
        rejected = work[Versions].get(model.id, 2).judged(Verdict.FAILED, Digest("0" * 64))
        work[Versions].save(rejected)
        work.commit()
    with pytest.raises(TooFewClasses) as told:
        order_update(scene.platform, notifier, ME, model=model.name, order=order)
    assert told.value.facts == {}


def test_one_class_is_enough_where_those_of_the_suites_compete(
    scene: Scene, notifier: RecordingNotifier, model: Model
) -> None:
    recipe = Recipe(label_space=LabelSpace.OPEN)
    order = an_order(scene.frozen("owl"), recipe=recipe, parent=1)
    assert order_update(scene.platform, notifier, ME, model=model.name, order=order)
    configure_model(scene.platform, model.name, suites=(), policy=None, reason="a test")
    with pytest.raises(TooFewClasses):
        order_update(scene.platform, notifier, ME, model=model.name, order=order)


def test_features_are_replayed_only_if_the_teacher_sees_images_as_the_parent(
    scene: Scene, notifier: RecordingNotifier, model: Model
) -> None:
    """The image tower of version 2, which has statistics, is not the root's, nor that of 3."""
    assert not a_candidate(scene.platform, model).feature_statistics

    def ordered(teacher: TeacherPolicy, parent: int, **choices: Any) -> Job:
        recipe = Recipe(exemplars=0, teacher=teacher, **choices)
        order = an_order(scene.frozen("owl", "elk"), recipe=recipe, parent=parent)
        return order_update(scene.platform, notifier, ME, model=model.name, order=order)

    assert ordered(TeacherPolicy.ROOT, 1)
    for parent in (2, 3):
        assert ordered(TeacherPolicy.PARENT, parent)
        assert ordered(TeacherPolicy.ROOT, parent, terms=())
        assert ordered(TeacherPolicy.ROOT, parent, feature_replay=0)
        for teacher in (TeacherPolicy.ROOT, TeacherPolicy.BOTH):
            with pytest.raises(ModelNotTrainable, match="Choose teacher 'parent'") as caught:
                ordered(teacher, parent)
            assert caught.value.pointer == "/recipe/teacher"


SEEING, BLIND = 28, 45  # offsets of images, with and without some to validate by


@pytest.mark.parametrize("choice", [MixingChoice.VALIDATION, MixingChoice.PER_LAYER])
@pytest.mark.parametrize(
    ("taught", "suites", "missing"),
    [
        (SEEING, ("kept",), []),
        (BLIND, ("kept",), ["this update's holdout"]),
        (SEEING, ("kept", "blind"), ["suite 'blind'"]),
        (SEEING, (), ["the model's suites (it has none)"]),
    ],
)
def test_a_mixing_weight_is_chosen_only_where_there_are_images_to_choose_it_by(
    scene: Scene,
    notifier: RecordingNotifier,
    model: Model,
    taught: int,
    suites: tuple[str, ...],
    missing: list[str],
    choice: MixingChoice,
) -> None:
    scene.suite(model, scene.frozen("sea", "mud", each=1, offset=BLIND + 8), "blind")
    configure_model(scene.platform, model.name, suites=suites, policy=None, reason="a test")
    recipe = Recipe(method=Method.WISE, mixing_choice=choice)
    order = an_order(scene.frozen("owl", "elk", offset=taught), recipe=recipe)
    if not missing:
        assert order_update(scene.platform, notifier, ME, model=model.name, order=order)
        return
    with pytest.raises(RecipeInvalid) as caught:
        order_update(scene.platform, notifier, ME, model=model.name, order=order)
    assert caught.value.facts == {"missing": missing}
    assert caught.value.pointer == "/recipe/mixing_choice"


def evaluating(version: int, alias: str = "production") -> Callable[[Scene, Model], Job]:
    return lambda scene, model: order_evaluation(
        scene.platform, RecordingNotifier(), ME, model=model.name, version=version, alias=alias
    )


def updating(
    kind: DatasetKind = DatasetKind.LABELLED,
    classes: tuple[str, ...] = ("owl", "elk"),
    each: int = 4,
    **changes: Any,
) -> Callable[[Scene, Model], Job]:
    def order(scene: Scene, model: Model) -> Job:
        data = scene.frozen(*classes, each=each, kind=kind)
        return order_update(
            scene.platform,
            RecordingNotifier(),
            ME,
            model=model.name,
            order=an_order(data, **changes),
        )

    return order


def test_whoever_freezes_images_one_by_one_first_does_not_choose_what_is_held_out(
    scene: Scene, notifier: RecordingNotifier, model: Model
) -> None:
    images = [digest(f"hard {number}") for number in range(200)]
    alone, taught = a_dataset(kind=DatasetKind.LABELLED), a_dataset(kind=DatasetKind.LABELLED)
    scene.draft(alone, *(a_row(alone, one, f"class {n}") for n, one in enumerate(images)))
    freeze_version(scene.platform, alone.id)
    scene.draft(
        taught, *(a_row(taught, one, ("owl", "elk")[n % 2]) for n, one in enumerate(images))
    )
    version = freeze_version(scene.platform, taught.id)
    assert {one["holdout"] for one in version.counts.values()} == {0}
    with pytest.raises(HoldoutBiased) as told:
        order_update(scene.platform, notifier, ME, model=model.name, order=an_order(version))
    assert told.value.facts == {"held_out": 0, "expected": 40}


Refused = Callable[[Scene, Model], Job]

SHORT: list[tuple[Refused, type, str | None]] = [
    (evaluating(9), VersionNotFound, None),
    (evaluating(2, "stagin"), AliasNotFound, None),
    (updating(dataset_version=2), DatasetVersionNotFound, None),
    (updating(prompt="no slot"), PromptInvalid, None),
    (updating(prompt=""), PromptInvalid, None),
    (updating(parent=9), VersionNotFound, None),
    (updating(alias="stagin"), AliasNotFound, None),
    (updating(each=1), TooFewPerClass, None),
    (updating(classes=("owl",)), TooFewClasses, "/recipe/label_space"),
]

REFUSALS: list[tuple[Refused, type, str | None, str]] = [
    *((order, kind, pointer, "") for order, kind, pointer in SHORT),
    (updating(parent=2, prompt="the {name}"), FieldInvalid, "/prompt", ""),
    (
        evaluating(1),
        FieldInvalid,
        "/version",
        "A root version cannot be evaluated: it has no parent to be compared with.",
    ),
    (
        updating(kind=DatasetKind.UNLABELLED, classes=("",)),
        FieldInvalid,
        "/dataset",
        "An update requires a labelled or a captioned dataset.",
    ),
    (
        updating(recipe=Recipe(method=Method.ZSCL)),
        FieldInvalid,
        "/reference",
        "The term 'reference' requires a reference set: name a dataset version.",
    ),
    (
        updating(reference=DatasetRef(dataset=DatasetId("shown"), version=1)),
        FieldInvalid,
        "/reference",
        "Only the term 'reference' takes a reference set, and this recipe does not have it.",
    ),
]


def test_what_could_not_start_is_refused(scene: Scene, model: Model) -> None:
    for order, kind, pointer, message in REFUSALS:
        with pytest.raises(PerennialError) as caught:
            order(scene, model)
        error = caught.value
        assert (type(error), error.pointer) == (kind, pointer), error
        assert message in {"", error.message}
        with scene.platform.transactions(read_only=True) as work:
            assert not work[Jobs].page(9, None, status=JobStatus.QUEUED), error


def test_a_base_that_nobody_knows_makes_no_model(scene: Scene, notifier: RecordingNotifier) -> None:
    with pytest.raises(BaseUnknown):
        create_model(scene.platform, notifier, ME, name="demo", base="nothing")
    assert notifier.notified == []


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("order", "held"),
    [(evaluating(3), 3), (evaluating(3), 2), (updating(parent=2), 2)],
    ids=["what is scored", "its parent", "what is trained"],
)
def test_an_order_waits_for_whoever_gives_up_the_weights_that_it_needs(
    scene: Scene, model: Model, order: Callable[[Scene, Model], Job], held: int
) -> None:
    a_candidate(scene.platform, model, parent=2)
    with ThreadPoolExecutor(1) as pool, scene.platform.transactions() as work:
        work[Versions].get(model.id, held, lock=True)
        ordered = pool.submit(order, scene, model)
        with pytest.raises(TimeoutError):
            ordered.result(0.3)
        work[Versions].release_weights(model.id, held, NOW)
        work.commit()
        with pytest.raises(ArtifactGone):
            ordered.result(10)
