"""Advice from what a model has been through: its earlier updates and their holdouts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

from core.advice.advise import advise
from core.advice.rules import Advice
from core.datasets.manifests import Part, Side
from core.datasets.thumbnail_rows import PlacedGroups
from core.errors import InferenceUnavailable
from core.gate.rows import Policies
from core.jobs.orders import JobType
from core.jobs.rows import Jobs
from core.recipes.fields import Method, TeacherPolicy
from core.recipes.rules import Recipe
from core.registry.configure import configure_model
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.values import Digest
from tests.support.api.seeds import some_weights
from tests.support.factories import NOW, a_job, a_policy, a_version, part_of, pixels_on
from tests.support.ordering import an_order
from tests.support.scene import Scene

ABSENT = Mock(classify=Mock(side_effect=InferenceUnavailable))  # no inference process

BLACK = Mock(pixels=lambda data, wanted: bytes(wanted.size))  # a decoder: every image is black

DEVICE = {"device": "cpu (x86)"}


def advised(scene: Scene, model: Model, **changes: Any) -> Advice:
    order = an_order(scene.frozen("owl", "elk"), **changes)
    return advise(scene.platform, ABSENT, BLACK, model=model.name, order=order)


def facts(advice: Advice, code: str) -> Mapping[str, Any]:
    [found] = [finding.facts for finding in advice.findings if finding.code == code]
    return found


def taught(
    scene: Scene,
    model: Model,
    number: int,
    parent: int,
    *,
    exemplars: int = 0,
    replayed: Sequence[str] = (),
    **changes: Any,
) -> None:
    """An update of eight training images: 4 epochs of 2 steps of 4 images, in 8 seconds.

    Scoring took 3 seconds more.
    """
    data = scene.frozen("cat", "dog", offset=100 * number)
    with scene.platform.transactions() as work:
        job = a_job(
            model,
            type=JobType.UPDATE,
            order=an_order(data, recipe=Recipe(epochs=4, batch_size=4)),
            attempt=1,
            parent_version=parent,
            version=number,
            started_at=NOW - timedelta(seconds=11),
        )
        work[Jobs].add(replace(job.succeed({}, NOW), **changes))
        version = a_version(
            job,
            work[Versions].next_number(model.id),
            parent=parent,
            dataset=data.dataset,
            dataset_version=data.number,
            digest=some_weights(scene.platform, number).digest,
            update_classes=("cat", "dog"),
            classes=("cat", "dog"),
            environment=DEVICE,
            notes={"exemplars": exemplars} if exemplars else {},
            feature_statistics=dict.fromkeys(replayed, data.manifest),
            created_at=NOW - timedelta(seconds=3),
        )
        assert version.number == number
        work[Versions].add(version)
        work.commit()


def test_the_expected_time_comes_from_the_models_uninterrupted_updates(scene: Scene) -> None:
    model, other = scene.model(), scene.model("other")
    taught(scene, other, 2, 1)
    assert advised(scene, model).seconds is None
    taught(scene, model, 2, 1)  # 32 images in 8 seconds
    taught(scene, model, 3, 2, attempt=2, started_at=NOW - timedelta(days=1))
    advice = advised(scene, model, recipe=Recipe(epochs=20, batch_size=8))
    assert advice.steps == 20
    assert advice.seconds == 160 / 4 + 3
    assert facts(advice, "duration")["device"] == "cpu (x86)"


def test_exemplars_count_as_they_are_kept(scene: Scene) -> None:
    """Two classes of four earlier images, whose update had eight exemplars besides its own."""
    model = scene.model()
    taught(scene, model, 2, 1, exemplars=8)  # 64 images in 8 seconds

    def later(**recipe: Any) -> Advice:
        return advised(scene, model, parent=2, recipe=Recipe(epochs=10, batch_size=4, **recipe))

    assert later().steps == 10 * ((8 + 8) // 4)
    assert later().seconds == 160 / 8 + 3
    assert later(exemplars=5).steps == 10 * ((8 + 2 * 2) // 4)
    assert later(exemplars=1).steps == 10 * ((8 + 2) // 4)
    assert later(exemplars=0, feature_replay=0).steps == 10 * (8 // 4)
    again = an_order(
        scene.frozen("cat", "dog", offset=200), parent=2, recipe=Recipe(epochs=10, batch_size=4)
    )
    same = advise(scene.platform, ABSENT, BLACK, model=model.name, order=again)
    assert same.steps == 10 * (8 // 4)  # the same images again are no exemplars


def test_features_count_as_they_are_drawn(scene: Scene) -> None:
    """Two classes learned before, and four training images of each new class."""
    model = scene.model()
    taught(scene, model, 2, 1, replayed=("cat", "dog"))

    def later(parent: int, **recipe: Any) -> Advice:
        choices = Recipe(method=Method.VRLWF_FEATURES, epochs=10, batch_size=4, **recipe)
        choices = replace(choices, teacher=TeacherPolicy.PARENT)
        return advised(scene, model, parent=parent, recipe=choices)

    assert later(1).steps == 10 * (8 // 4)
    assert later(2).steps == 10 * ((8 + 2 * 4) // 4)
    assert later(2, feature_replay=3).steps == 10 * ((8 + 2) // 4)
    assert later(2, feature_replay=0).steps == 10 * (8 // 4)


def test_small_suites_and_holdouts_are_named_one_by_one_and_together(
    scene: Scene,
) -> None:
    model = scene.model()
    taught(scene, model, 2, 1)
    taught(scene, model, 3, 2)
    scene.suite(model, scene.frozen("sun", "sky", offset=400), "kept")
    held_out = {n: in_test_part(pixels_on(Side.HOLDOUT, 100 * n + 8)[100 * n :]) for n in (2, 3, 4)}
    kept = held_out[4] + in_test_part(pixels_on(Side.TRAIN, 408)[400:])
    assert facts(advised(scene, model, parent=3), "small_sets")["sets"] == {
        "suite kept": kept,
        "holdout of version 2": held_out[2],
        "holdout of version 3": held_out[3],
        "holdouts of 2 updates": held_out[2] + held_out[3],
    }
    assert facts(advised(scene, model, parent=2), "small_sets")["sets"] == {
        "suite kept": kept,
        "holdout of version 2": held_out[2],
    }


def test_images_of_suites_do_not_ask_what_else_is_kept_if_they_show_what_is_taught(
    scene: Scene,
) -> None:
    """Neither those of the update's own classes, in any case, nor of what the line has learned."""
    model, policy = scene.model(), a_policy(minimum_count=20)
    with scene.platform.transactions() as work:
        work[Policies].add(policy)
        work.commit()
    taught(scene, model, 2, 1)
    scene.suite(model, scene.frozen("Owl", "cat", each=20, offset=400), "own")
    configure_model(
        scene.platform, model.name, suites=None, policy=policy.name, reason="few images"
    )
    assert facts(advised(scene, model, parent=2), "small_suites") == {"images": 0, "needed": 2}
    scene.suite(model, scene.frozen("sun", "cat", each=5, offset=600), "other")
    found = {one.code for one in advised(scene, model, parent=2).findings}
    assert "small_suites" not in found
    assert "small_sets" in found


def test_an_image_that_another_dataset_has_forced_into_the_holdout_is_no_test_image(
    scene: Scene,
) -> None:
    train, held_out = pixels_on(Side.TRAIN, 8), pixels_on(Side.HOLDOUT, 8)
    forced = next(one for one in train if part_of(one) is Part.TEST)
    with scene.platform.transactions() as work:
        work[PlacedGroups].add({forced: Side.HOLDOUT})
        work.commit()
    told = facts(advised(scene, scene.model()), "images")
    assert told == {"train": 7, "holdout": 9, "test": in_test_part(held_out)}


def in_test_part(images: Sequence[Digest]) -> int:
    return sum(part_of(pixels) is Part.TEST for pixels in images)


def test_an_update_whose_version_or_images_were_deleted_is_passed_over(scene: Scene) -> None:
    model = scene.model()
    for number in (2, 3):
        taught(scene, model, number, parent=1)
    measured = facts(advised(scene, model), "duration")
    with scene.platform.transactions() as work:
        work[Versions].remove(model.id, 3, NOW)
        work.commit()
    assert facts(advised(scene, model), "duration") == measured
