"""The model of all tests of blames."""

import pytest

from tests.support.evaluation.blamed import Blamed, a_blamed_model
from tests.support.scene import Scene


@pytest.fixture
def blamed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Blamed:
    return a_blamed_model(scene, monkeypatch)
