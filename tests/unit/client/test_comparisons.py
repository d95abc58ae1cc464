"""Comparisons of versions through the client."""

import pytest

from core.registry.versions import Model
from tests.support.api.served import Served
from tests.support.evaluation.each_class import knowing_each
from tests.support.scene import Scene


@pytest.fixture
def model(served: Served, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The model `demo`, whose second version lost hats and gained bags."""
    scene = Scene(served.platform.transactions, served.platform.artifacts)
    made = scene.model()
    scene.suite(made, scene.frozen("hat", "bag", each=6, offset=500), name="easy")
    knowing_each(scene, made, monkeypatch, {1: ("hat",), 2: ("bag", "cat", "dog")})
    scene.update(made, scene.frozen("cat", "dog", offset=40), auto_promote=False)
    scene.run()
    return made


def test_versions_are_compared(served: Served, model: Model) -> None:
    versions = served.client.versions
    flips = list(versions.flips("demo", 2))
    lost = list(versions.flips("demo", 2, against=1, kind="lost", suite="easy", class_name="hat"))
    assert lost == [flip for flip in flips if flip["class"] == "hat"]
    assert {flip["now"] for flip in lost} == {"bag"}
    comparison = versions.compare("demo", 1, 2)
    assert (comparison["before"]["version"], comparison["now"]["version"]) == (1, 2)
    assert comparison["lost"] + comparison["gained"] == len(flips)
    blame = versions.blame("demo", "hat", version=2)
    assert blame["fell"] is not None
    assert (blame["fell"]["version"], blame["fell"]["lost"]) == (2, len(lost))
    assert versions.blame("demo", "hat")["version"] == 1
