"""Classes that a line of versions has learned, by name."""

import pytest

from core.datasets.rules import SuiteKind
from core.datasets.suites import create_suite
from core.errors import FieldInvalid
from core.images.inputs import ImageInput
from core.inference.classify import MAX_CLASSES, Resolved, classification_of
from core.recipes.rules import class_texts
from core.registry.configure import configure_model
from core.registry.read import learned_classes, resolve
from tests.support.evaluation.judged import go_live
from tests.support.scene import Scene


def test_class_that_is_taught_again_in_other_capitals_is_learned_once(scene: Scene) -> None:
    model = scene.model()
    scene.update(model, scene.frozen("Cat", "dog"))
    scene.run()
    scene.update(model, scene.frozen("cat", "owl", offset=50), parent=2)
    ended = scene.run()
    assert ended.error is None
    version = scene.version(model, 3)
    assert version.classes == ("Cat", "dog", "owl")
    assert version.update_classes == ("cat", "owl")
    go_live(scene, model, 3, reason="new", override=True)
    with scene.platform.transactions(read_only=True) as work:
        _, _, taught = learned_classes(work, model.name, "production")
    assert taught == {"Cat": 3, "dog": 2, "owl": 3}


def test_classes_to_choose_from_are_distinct(scene: Scene) -> None:
    def asked(classes: list[str], number: int = 1) -> tuple[str, ...]:
        with scene.platform.transactions(read_only=True) as work:
            found, version = resolve(work, f"{model.name}:{number}")
        resolved = Resolved(model=found, version=version, input=ImageInput(height=8, width=8))
        return classification_of(resolved, classes).texts.classes

    model = scene.model()
    suite = create_suite(
        scene.platform,
        name="asked",
        kind=SuiteKind.ZERO_SHOT,
        dataset=scene.frozen("Owl", "elk", "owl").dataset,
        dataset_version=1,
    )
    configure_model(scene.platform, model.name, suites=[suite.id], policy=None, reason="a test")
    # those of a suite would be gone with the first version that has learned any
    with pytest.raises(FieldInvalid, match="Version 1 has learned no classes"):
        asked([])
    scene.learn(model, scene.frozen("Bag", "boot", offset=50))
    assert asked([], 2) == ("Bag", "boot")
    assert asked(["Cat", "cat", "dog"]) == ("Cat", "dog")
    before = class_texts.cache_info().misses
    with pytest.raises(FieldInvalid):
        asked([str(number) for number in range(MAX_CLASSES + 1)])
    assert class_texts.cache_info().misses == before  # a refused list is not remembered
