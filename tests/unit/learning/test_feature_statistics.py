"""The Gaussian of a class's features, and what is drawn from it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.learning.features import SHRINKAGE, DrawnFeatures, FeatureStatistics
from core.learning.vocabulary import generator_of
from core.recipes.fields import drawn_features
from tests.support.memory_artifacts import MemoryArtifacts

ONE = torch.tensor([[1.0, 0.0], [0.6, 0.8]])

OTHER = torch.tensor([[0.0, 1.0], [0.8, 0.6], [0.0, -1.0]])


def close(statistics: FeatureStatistics, other: FeatureStatistics) -> None:
    assert int(statistics.count) == int(other.count)
    torch.testing.assert_close(statistics.mean, other.mean)
    torch.testing.assert_close(statistics.covariance, other.covariance)


def test_statistics_are_the_count_the_mean_and_the_covariance() -> None:
    found = FeatureStatistics.of(ONE)
    assert int(found.count) == 2
    assert found.mean.tolist() == pytest.approx([0.8, 0.4])
    assert found.covariance.flatten().tolist() == pytest.approx([0.04, -0.08, -0.08, 0.16])


def test_merged_statistics_are_those_of_all_images() -> None:
    merged = FeatureStatistics.of(ONE).merged(FeatureStatistics.of(OTHER))
    close(merged, FeatureStatistics.of(torch.cat([ONE, OTHER])))


def test_statistics_are_read_as_they_were_written() -> None:
    found = FeatureStatistics.of(OTHER)
    close(FeatureStatistics.from_bytes(found.to_bytes()), found)
    assert found.to_bytes() == FeatureStatistics.of(OTHER).to_bytes()


def test_drawn_features_have_the_gaussians_directions() -> None:
    apart = torch.tensor([[3.0, 0.1], [3.0, -0.1]])  # far from 0, so that normalising is linear
    drawn = FeatureStatistics.of(apart).draw(10_000, generator_of("a test"))
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(len(drawn)))
    angles = torch.atan2(drawn[:, 1], drawn[:, 0])
    spread = 0.1 / 3
    assert abs(angles.mean()) < 5 * spread / math.sqrt(len(drawn))
    assert angles.std() == pytest.approx(spread, rel=5 / math.sqrt(2 * len(drawn)))


def test_a_covariance_is_shrunk_towards_its_diagonal() -> None:
    tilted = torch.tensor([[3.0, 0.2, 0.2], [3.0, -0.2, -0.2]])
    drawn = FeatureStatistics.of(tilted).draw(10_000, generator_of("another test"))
    slopes: Tensor = drawn[:, 1:] / drawn[:, :1]
    correlation = torch.corrcoef(slopes.T)[0, 1]
    assert correlation == pytest.approx(1 - SHRINKAGE, abs=0.02)


def test_rounding_of_the_statistics_barely_moves_what_is_drawn() -> None:
    """Equal variances have no directions of their own: another library may return any."""
    even = torch.cat([torch.eye(4), -torch.eye(4)])
    found = FeatureStatistics.of(even + torch.tensor([3.0, 0.0, 0.0, 0.0]))
    noise = 1e-7 * torch.randn(4, 4, generator=generator_of("rounding"))
    rounded = replace(found, covariance=found.covariance + noise + noise.T)
    one, other = (each.draw(100, generator_of("rounded")) for each in (found, rounded))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_class_of_one_image_is_drawn_as_that_image() -> None:
    drawn = FeatureStatistics.of(ONE[1:]).draw(3, generator_of("one"))
    torch.testing.assert_close(drawn, ONE[1:].expand(3, 2))


def test_each_class_is_drawn_alike_whatever_else_is_drawn() -> None:
    artifacts = MemoryArtifacts()
    known = {
        name: artifacts.put(FeatureStatistics.of(rows).to_bytes())
        for name, rows in (("one", ONE), ("other", OTHER))
    }
    both = DrawnFeatures.of(known, artifacts, per_class=2, seed=7)
    alone = DrawnFeatures.of({"other": known["other"]}, artifacts, per_class=2, seed=7)
    assert both.class_names == ("one", "one", "other", "other")
    assert torch.equal(both.rows[2:], alone.rows)
    assert not torch.equal(
        alone.rows, DrawnFeatures.of({"other": known["other"]}, artifacts, per_class=2, seed=8).rows
    )


@pytest.mark.parametrize(
    ("count", "replayed", "images", "classes", "each"),
    [(2000, 4, 600, 4, 150), (2000, 40, 120, 1, 50), (10, 40, 120, 1, 1), (2000, 4, 10, 4, 3)],
)
def test_as_many_features_of_a_class_are_drawn_as_an_own_class_has_images(
    count: int, replayed: int, images: int, classes: int, each: int
) -> None:
    assert drawn_features(count, replayed, images=images, classes=classes) == each
