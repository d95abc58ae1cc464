"""Identical tensors exist once, so an update adds no more than it has changed."""

import pytest

from benchmarks.storage import measure_growth
from core.artifacts.local import LocalArtifacts


@pytest.mark.parametrize("store", ["folder", "s3"])
def test_an_update_of_the_image_tower_adds_that_tower_and_the_same_again_nothing(
    store: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue("tmp_path")
    artifacts = LocalArtifacts(folder) if store == "folder" else request.getfixturevalue("s3")
    growth = measure_growth(artifacts)
    assert 0 < growth.update <= growth.tower < growth.version / 2
    assert growth.listed < growth.tower / 100
    assert growth.again == 0
