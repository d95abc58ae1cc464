"""The inputs and the arithmetic of an update, which stay the same at every claim."""

from unittest.mock import Mock

import pytest

from core.datasets.freeze import read_manifest
from core.datasets.manifests import ManifestEntry, Part, Side
from core.datasets.rules import DatasetKind, DatasetRef, DatasetVersion
from core.datasets.version_rows import Suites
from core.errors import DatabaseUnavailable, ImageInTraining, TrainingDiverged
from core.evaluation.queries import ClassQuery, RetrievalQuery
from core.job_types.retry import retry_job
from core.jobs.queue import JobRequest
from core.jobs.rules import Job, JobStatus, Monitor
from core.recipes.fields import LabelSpace, Method, Precision
from core.recipes.rules import Recipe
from core.registry.configure import configure_model
from core.registry.versions import Model
from tests.support.factories import TESTER, a_suite
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene, nothing


def entries(scene: Scene, data: DatasetVersion, side: Side) -> tuple[ManifestEntry, ...]:
    return read_manifest(scene.platform.artifacts, data.manifest).on(side)


def taught(scene: Scene, model: Model, *lessons: DatasetVersion) -> None:
    for parent, lesson in enumerate(lessons, start=1):
        scene.update(model, lesson, parent=parent)
        assert scene.run().status is JobStatus.SUCCEEDED


def failure(ended: Job) -> object:
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    return ended.error["code"]


REPLAY, WISE = (Recipe(method=m) for m in (Method.REPLAY, Method.WISE))


# ---- Exemplars ------------------------------------------------------------------------------


def test_replay_may_choose_from_the_training_sides_of_earlier_updates_oldest_first(
    scene: Scene,
) -> None:
    model = scene.model()
    first, second = scene.frozen("cat", "dog"), scene.frozen("owl", "elk", offset=50)
    taught(scene, model, first, second)
    scene.learn(model, scene.frozen("ant", "bee", offset=100), parent=3, recipe=REPLAY)
    spec = scene.script.tasks[-1]
    assert spec.exemplars == entries(scene, first, Side.TRAIN) + entries(scene, second, Side.TRAIN)
    assert spec.learned == ("cat", "dog", "elk", "owl")


def test_versions_beside_the_line_give_no_exemplars_and_no_feature_statistics(scene: Scene) -> None:
    model = scene.model()
    taught(scene, model, scene.frozen("cat", "dog"))
    for recipe in (REPLAY, Recipe()):
        scene.learn(model, scene.frozen("owl", "elk", offset=50), parent=1, recipe=recipe)
        assert scene.script.tasks[-1].exemplars == ()
        assert scene.script.tasks[-1].feature_statistics == {}
    assert scene.version(model, 4).feature_statistics.keys() == {"owl", "elk"}


def test_image_taught_twice_is_one_exemplar_as_what_it_was_last_taught_to_be(scene: Scene) -> None:
    model = scene.model()
    first = scene.frozen("cat", "dog")
    taught(scene, model, first, scene.frozen("puma", "wolf"))
    scene.learn(model, scene.frozen("owl", "elk", offset=50), parent=3, recipe=REPLAY)
    exemplars = scene.script.tasks[-1].exemplars
    same = {entry.pixels for entry in entries(scene, first, Side.TRAIN)}
    assert {entry.pixels for entry in exemplars} == same
    assert len(exemplars) == len(same)
    assert {entry.class_name for entry in exemplars} == {"puma", "wolf"}


def test_image_that_the_update_brings_itself_or_a_suite_has_is_no_exemplar(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog")
    taught(scene, model, data)
    scene.learn(model, scene.frozen("puma", "wolf"), parent=2, recipe=REPLAY)
    assert scene.script.tasks[-1].exemplars == ()  # the update brings the same images itself
    with scene.platform.transactions() as work:  # as two that came at the same moment
        work[Suites].add(a_suite(), read_manifest(scene.platform.artifacts, data.manifest))
        work.commit()
    scene.learn(model, scene.frozen("owl", "elk", offset=50), parent=2, recipe=REPLAY)
    assert scene.script.tasks[-1].exemplars == ()


# ---- Feature statistics -----------------------------------------------------------------------


@pytest.mark.parametrize("retried", [False, True], ids=["resumed", "retried"])
def test_update_that_did_not_end_is_given_the_same_feature_statistics_again(
    scene: Scene, retried: bool
) -> None:
    model = scene.model()
    taught(scene, model, scene.frozen("cat", "dog"))
    job = scene.update(model, scene.frozen("owl", "elk", offset=50), parent=2)
    fault = TrainingDiverged if retried else DatabaseUnavailable
    scene.script.training = Mock(side_effect=fault)
    assert scene.run().status is (JobStatus.FAILED if retried else JobStatus.QUEUED)
    scene.script.training = nothing
    if retried:
        retry_job(scene.platform, SilentNotifier(), JobRequest(principal=TESTER), job.id)
    assert scene.run().status is JobStatus.SUCCEEDED
    _, first, second = scene.script.tasks
    assert first.feature_statistics == second.feature_statistics
    assert first.feature_statistics == scene.version(model, 2).feature_statistics
    assert scene.version(model, 3).feature_statistics.keys() == {"cat", "dog", "owl", "elk"}


# ---- The prompt -----------------------------------------------------------------------------


def test_an_update_keeps_the_prompt_in_which_its_line_is_guarded(scene: Scene) -> None:
    """It could keep all by the prompt of the holdouts, and nothing in that of callers."""
    model, data = scene.model(), scene.frozen("owl", "elk", offset=50)
    scene.learn(model, scene.frozen("cat", "dog"), parent=1, prompt="the {name}")
    scene.update(model, data, parent=2, prompt="a {name}.")  # ordered before version 2 was live
    assert failure(scene.run()) == "field_invalid"
    assert len(scene.script.tasks) == 1
    scene.learn(model, data, parent=2)
    assert scene.version(model, 3).prompt.text == "the {name}"


# ---- Selection ------------------------------------------------------------------------------


def test_selection_asks_the_examinations_questions_about_the_validation_parts(
    scene: Scene,
) -> None:
    model = scene.model()
    scene.learn(model, scene.frozen("ant", "bee", offset=150), parent=1, prompt="the {name}")
    assert scene.script.tasks[-1].selection is None  # its method has nothing to choose
    labelled = scene.suite(model, scene.frozen("Sun", "moon", each=10, offset=50), "sky")
    captions = scene.frozen("a", "b", each=10, offset=100, kind=DatasetKind.CAPTIONED)
    scene.suite(model, captions, "words")
    data = scene.frozen("cat", "dog", each=10)
    scene.learn(model, data, recipe=WISE, parent=2)
    selection = scene.script.tasks[-1].selection
    assert selection is not None
    new, (sky, words) = selection.new, selection.kept
    assert new.entries == tuple(
        e for e in entries(scene, data, Side.HOLDOUT) if e.part is Part.VALIDATION
    )
    assert new.classes == scene.version(model, 3).classes == ("ant", "bee", "cat", "dog")
    assert new.prompt.text == "the {name}"
    assert isinstance(sky, ClassQuery)
    assert (sky.classes, sky.prompt) == (labelled.classes, labelled.prompt)
    assert isinstance(words, RetrievalQuery)
    assert all(e.part is Part.VALIDATION for q in (new, sky, words) for e in q.entries)
    asked = {question for _, question in scene.script.asked_questions}
    assert asked.isdisjoint({new.digest, sky.digest, words.digest})


def test_update_that_has_nothing_left_to_choose_by_fails_before_it_trains(scene: Scene) -> None:
    model = scene.model()
    scene.update(model, scene.frozen("cat", "dog", each=10), recipe=WISE)
    ended = scene.run()
    assert failure(ended) == "recipe_invalid"
    assert "it has none" in str(ended.error)
    assert scene.script.tasks == []


# ---- The same at every claim ----------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe", [Recipe(label_space=LabelSpace.OPEN), WISE], ids=["open", "wise"]
)
def test_suites_that_change_in_mid_training_change_nothing_of_the_task(
    scene: Scene, recipe: Recipe
) -> None:
    model = scene.model()
    sky = scene.suite(model, scene.frozen("sun", "moon", each=10, offset=50), "sky")
    job = scene.update(model, scene.frozen("cat", "dog", each=10), recipe=recipe)

    def choose_others_and_die(monitor: Monitor) -> None:
        configure_model(scene.platform, model.name, suites=[], policy=None, reason="a test")
        scene.suite(model, scene.frozen("cup", "jar", each=10, offset=100), "kitchen")
        raise DatabaseUnavailable

    scene.script.training = choose_others_and_die
    assert scene.run().status is JobStatus.QUEUED
    scene.script.training = nothing
    assert scene.run().status is JobStatus.SUCCEEDED
    first, second = scene.script.tasks
    assert first == second
    assert first.open_classes == ("moon", "sun")
    assert scene.job(job).suites == (sky.id,)


def test_what_training_chose_is_kept_with_the_version_and_reported(scene: Scene) -> None:
    model = scene.model()
    scene.script.notes = {"mixing": 0.6, "tried": [{"mixing": 0.6, "new": 0.5, "kept": 0.75}]}
    taught(scene, model, scene.frozen("cat", "dog"))
    version = scene.version(model, 2)
    assert version.notes == scene.script.notes
    assert version.report is not None
    assert b'"tried":[{' in scene.platform.artifacts.get(version.report)


ZSCL = Recipe(method=Method.ZSCL)


def test_classes_of_a_reference_set_stand_in_the_parents_prompt(scene: Scene) -> None:
    model, shown = scene.model(), scene.frozen("Sun", "moon", offset=50)
    named = DatasetRef(dataset=shown.dataset, version=1)
    data = scene.frozen("cat", "dog")
    scene.learn(model, data, recipe=ZSCL, reference=named, prompt="the {name}", parent=1)
    spec = scene.script.tasks[-1]
    assert {entry.texts for entry in spec.reference} == {
        ("a photo of a sun.",),
        ("a photo of a moon.",),
    }
    assert spec.prompt.text == "the {name}"


def test_captions_of_a_reference_set_stand_as_they_are_without_holdout_and_images_of_suites(
    scene: Scene,
) -> None:
    model = scene.model()
    asked = scene.frozen("cup", "jar", each=2, offset=50)
    scene.suite(model, asked)
    shown = scene.frozen("A Red cup", "jars", offset=50, kind=DatasetKind.CAPTIONED)
    named = DatasetRef(dataset=shown.dataset, version=1)
    scene.learn(model, scene.frozen("cat", "dog"), recipe=ZSCL, reference=named)
    assert scene.version(model, 2).reference == named
    held = {entry.pixels for entry in entries(scene, asked, Side.TRAIN)}
    assert len(held) == 4
    left = tuple(e for e in entries(scene, shown, Side.TRAIN) if e.pixels not in held)
    assert scene.script.tasks[-1].reference == left != ()


def test_images_that_are_or_will_be_distilled_become_no_suite(scene: Scene) -> None:
    model = scene.model()
    shown = scene.frozen("a cup", "a jar", offset=50, kind=DatasetKind.CAPTIONED)
    named = DatasetRef(dataset=shown.dataset, version=1)
    scene.update(model, scene.frozen("cat", "dog"), recipe=ZSCL, reference=named)
    with pytest.raises(ImageInTraining):
        scene.suite(model, shown)
    assert scene.run().status is JobStatus.SUCCEEDED
    with pytest.raises(ImageInTraining):
        scene.suite(model, shown)


NATIVE = {
    Precision.BF16: frozenset({Precision.FP32, Precision.BF16}),
    Precision.FP32: frozenset({Precision.FP32}),
}

HOME, AWAY = {"device": "cpu", "threads": "2"}, {"device": "cuda", "threads": "2"}


@pytest.mark.parametrize("precision", NATIVE)
def test_auto_is_bf16_where_the_device_has_it_and_fp32_elsewhere(
    precision: Precision, scene: Scene
) -> None:
    model = scene.model()
    scene.script.native = NATIVE[precision]
    job = scene.update(model, scene.frozen("cat", "dog"))
    assert scene.job(job).precision is None
    assert scene.run().precision is precision
    version = scene.version(model, 2)
    assert version.recipe == Recipe(precision=precision)
    assert scene.script.tasks[-1].recipe == version.recipe
    assert scene.report(version)["recipe"]["precision"] == precision
    assert scene.job(job).order.recipe.precision is Precision.AUTO  # so that a retry chooses anew
    assert "slow_precision" not in {event.kind for event in scene.events(job)}


@pytest.mark.parametrize(
    ("first", "second"),
    [(Precision.BF16, Precision.FP32), (Precision.FP32, Precision.BF16)],
)
def test_a_later_claim_on_another_machine_keeps_the_arithmetic_of_the_first(
    first: Precision, second: Precision, scene: Scene
) -> None:
    model = scene.model()
    scene.update(model, scene.frozen("cat", "dog"))
    scene.script.native = NATIVE[first]
    scene.script.training = Mock(side_effect=DatabaseUnavailable)
    assert scene.run().status is JobStatus.QUEUED
    scene.script.native, scene.script.training = NATIVE[second], nothing
    assert scene.run().precision is first
    assert {spec.recipe.precision for spec in scene.script.tasks} == {first}


@pytest.mark.parametrize(
    ("environments", "exact"), [((HOME,), True), ((HOME, AWAY), False), ((HOME, AWAY, HOME), False)]
)
def test_version_and_report_say_where_training_went_and_if_a_repeat_is_exact(
    environments: tuple[dict[str, str], ...], exact: bool, scene: Scene
) -> None:
    model = scene.model()
    root = scene.version(model, 1)
    assert (root.environments, root.exact) == ((), None)  # it was not trained here
    scene.script.environments = environments
    scene.learn(model, scene.frozen("cat", "dog"))
    version = scene.version(model, 2)
    assert version.environment == environments[-1]
    assert version.environments == environments
    assert version.exact is exact
    report = scene.report(version)
    assert (report["environments"], report["exact"]) == (list(environments), exact)
