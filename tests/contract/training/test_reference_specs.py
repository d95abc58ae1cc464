"""Reference sets of updates: their texts, and images that are left out of them."""

import pytest

from core.datasets.manifests import Side
from core.datasets.rules import DatasetKind, DatasetRef
from core.errors import ImageInTraining
from core.jobs.rules import JobStatus
from core.recipes.fields import Method
from core.recipes.rules import Recipe
from tests.support.learning.training_specs import entries, failure, taught
from tests.support.scene import Scene

ZSCL = Recipe(method=Method.ZSCL)


def test_captions_of_a_reference_set_stand_as_they_are_and_no_holdout_is_shown(
    scene: Scene,
) -> None:
    model = scene.model()
    shown = scene.frozen("A Red ring", "dots", offset=50, kind=DatasetKind.CAPTIONED)
    update = {"recipe": ZSCL, "reference": DatasetRef(dataset=shown.dataset, version=1)}
    scene.update(model, scene.frozen("cat", "dog"), **update)
    scene.run()
    assert scene.script.tasks[-1].reference == entries(scene, shown, Side.TRAIN)
    assert scene.version(model, 2).reference == update["reference"]


def test_classes_of_a_reference_set_stand_in_the_parents_prompt(scene: Scene) -> None:
    model, shown = scene.model(), scene.frozen("Sun", "moon", offset=50)
    taught(scene, model, scene.frozen("ant", "bee", offset=90))
    named = DatasetRef(dataset=shown.dataset, version=1)
    data = scene.frozen("cat", "dog")
    scene.update(model, data, recipe=ZSCL, reference=named, prompt="the {name}", parent=2)
    scene.run()
    spec = scene.script.tasks[-1]
    assert {entry.texts for entry in spec.reference} == {
        ("a photo of a sun.",),
        ("a photo of a moon.",),
    }
    assert spec.prompt.text == "the {name}"


def test_images_of_a_suite_are_left_out_of_a_reference_set(scene: Scene) -> None:
    model = scene.model()
    asked = scene.frozen("cup", "jar", each=2, offset=50)
    scene.suite(model, asked)
    shown = scene.frozen("a cup", "a jar", offset=50, kind=DatasetKind.CAPTIONED)
    named = DatasetRef(dataset=shown.dataset, version=1)
    scene.update(model, scene.frozen("cat", "dog"), recipe=ZSCL, reference=named)
    scene.run()
    held = {entry.pixels for entry in entries(scene, asked, Side.TRAIN)}
    assert len(held) == 4
    found = {entry.pixels for entry in scene.script.tasks[-1].reference}
    assert found == {e.pixels for e in entries(scene, shown, Side.TRAIN)} - held


def test_reference_set_of_which_nothing_is_left_fails_the_job(scene: Scene) -> None:
    model = scene.model()
    shown = scene.frozen("a cup", "a jar", offset=50, kind=DatasetKind.CAPTIONED)
    scene.suite(model, shown)
    named = DatasetRef(dataset=shown.dataset, version=1)
    scene.update(model, scene.frozen("cat", "dog"), recipe=ZSCL, reference=named)
    assert failure(scene.run()) == "field_invalid"
    assert scene.script.tasks == []


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
