"""Identical tensors exist once, so an update adds no more than it has changed."""

from pathlib import Path

from benchmarks.storage import measure_growth
from core.artifacts.local import LocalArtifacts


def test_an_update_of_the_image_tower_adds_that_tower_and_the_same_again_nothing(
    tmp_path: Path,
) -> None:
    growth = measure_growth(LocalArtifacts(tmp_path))
    assert 0 < growth.update <= growth.tower < growth.version / 2
    assert growth.listed < growth.tower / 100
    assert growth.again == 0
