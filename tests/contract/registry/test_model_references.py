"""The version that each form of a model reference means."""

import pytest

from core.errors import AliasNotFound, ModelNotFound, PerennialError, VersionNotFound
from core.registry.read import resolve
from core.registry.versions import Model, Version
from tests.support.api.seeds import a_candidate
from tests.support.scene import Scene


@pytest.fixture
def model(scene: Scene) -> Model:
    """A model whose root is live, with a candidate beside it."""
    made = scene.model()
    a_candidate(scene.platform, made)
    scene.model("other")
    return made


def meant(scene: Scene, reference: str) -> tuple[Model, Version]:
    with scene.platform.transactions(read_only=True) as work:
        return resolve(work, reference)


def test_name_alias_or_number_mean_one_version_of_that_model(scene: Scene, model: Model) -> None:
    meanings = {"demo": 1, "demo@production": 1, "demo:1": 1, "demo:2": 2, "demo:000000002": 2}
    for reference, number in meanings.items():
        found, version = meant(scene, reference)
        assert (found, version.model, version.number) == (model, model.id, number), reference


def test_digest_means_the_version_that_has_it_and_a_number_with_it_must_mean_the_same(
    scene: Scene, model: Model
) -> None:
    for number in (1, 2):
        version = scene.version(model, number)
        assert meant(scene, f"demo@sha256:{version.digest}") == (model, version)
        assert meant(scene, f"demo:{number}@sha256:{version.digest}") == (model, version)
    other = scene.version(model, 2).digest
    for reference in (f"demo:1@sha256:{other}", f"demo:3@sha256:{other}"):
        with pytest.raises(VersionNotFound):
            meant(scene, reference)


MISSING = {
    "nobody": ModelNotFound,
    "nobody:1": ModelNotFound,
    "nobody@sha256:" + "0" * 64: ModelNotFound,
    "demo@nowhere": AliasNotFound,
    "demo@sha256:" + "0" * 64: VersionNotFound,
    "demo:3": VersionNotFound,
    "demo:1:2": VersionNotFound,
    "demo:two": VersionNotFound,
    "demo:1@sha256:": VersionNotFound,
    "demo:0000000002": VersionNotFound,
    f"demo@sha256:{'0' * 64}@sha256:{'0' * 64}": VersionNotFound,
    "demo@production@production": AliasNotFound,
}


def test_what_is_not_there_is_named(scene: Scene, model: Model) -> None:
    for reference, fault in MISSING.items():
        with pytest.raises(PerennialError) as told:
            meant(scene, reference)
        assert type(told.value) is fault, reference
        if reference.startswith("demo:two"):
            assert told.value.facts == {"reference": reference}
