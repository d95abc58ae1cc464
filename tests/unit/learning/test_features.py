"""Gaussians of classes' features, and updates that replay what is drawn from them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from core.clip.model import load, publish
from core.errors import ModelNotTrainable
from core.learning.data import encode_stored
from core.learning.features import DrawnFeatures
from core.learning.statistics import SHRINKAGE, FeatureStatistics
from core.learning.vocabulary import generator_of
from core.recipes.fields import Method, ModelPart, TeacherPolicy, drawn_features
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import (
    Watching,
    another_root,
    prepared,
    red_and_blue,
    trained,
    with_recipe,
)
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
    one = {"other": known["other"]}
    alone = DrawnFeatures.of(one, artifacts, per_class=2, seed=7)
    assert both.class_names == ("one", "one", "other", "other")
    assert torch.equal(both.rows[2:], alone.rows)
    otherwise = DrawnFeatures.of(one, artifacts, per_class=2, seed=8)
    assert not torch.equal(alone.rows, otherwise.rows)


@pytest.mark.parametrize(
    ("count", "replayed", "images", "classes", "each"),
    [(2000, 4, 600, 4, 150), (2000, 40, 120, 1, 50), (10, 40, 120, 1, 1), (2000, 4, 10, 4, 3)],
)
def test_as_many_features_of_a_class_are_drawn_as_an_own_class_has_images(
    count: int, replayed: int, images: int, classes: int, each: int
) -> None:
    assert drawn_features(count, replayed, images=images, classes=classes) == each


def features_of(spec: TrainingSpec, artifacts: MemoryArtifacts, class_name: str) -> Tensor:
    """The parent's features of the images of a class."""
    entries = [e for e in (*spec.images, *spec.exemplars) if e.class_name == class_name]
    return encoder(spec, artifacts)(entries)


def encoder(spec: TrainingSpec, artifacts: MemoryArtifacts) -> partial[Tensor]:
    return partial(encode_stored, load(spec.parent, artifacts), artifacts, lambda done, total: None)


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    """A second update: the green squares were taught before, and are gone."""
    spec = with_recipe(red_and_blue(artifacts), method=Method.VRLWF_FEATURES)
    statistics = FeatureStatistics.of(features_of(spec, artifacts, "green"))
    return replace(
        spec,
        learned=("green",),
        exemplars=(),
        feature_statistics={"green": artifacts.put(statistics.to_bytes())},
    )


def test_an_epoch_passes_over_own_images_and_drawn_features(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    run = prepared(artifacts, spec)
    assert run.features == 5  # as many as each own class has images
    assert run.reading.sampler.steps == 2 * ((10 + 5) // 4)
    steps = [run.reading.step(step) for step in range(3)]  # an epoch
    assert not any(step.pixels.numel() for step in steps)
    columns = torch.cat([step.target for step in steps])
    indices = torch.cat([step.indices for step in steps])
    assert (columns[indices >= 10] == 2).all()  # green, after blue and red
    assert len(columns[indices >= 10]) > 0
    assert set(columns[indices < 10].tolist()) == {0, 1}


def test_a_step_has_the_loss_and_gradients_of_the_features_themselves(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    """Features drawn without spread are those of an image, which an exemplar can show instead."""
    shown = red_and_blue(artifacts).exemplars[0]
    one = FeatureStatistics.of(encoder(spec, artifacts)([shown]))
    drawn = replace(spec, feature_statistics={"green": artifacts.put(one.to_bytes())})
    drawn = with_recipe(drawn, feature_replay=1)
    real = with_recipe(replace(spec, exemplars=(shown,)), feature_replay=0, exemplars=1)
    for of in (drawn, real):
        assert len(of.feature_statistics) == 1
    runs = [prepared(artifacts, of) for of in (drawn, real)]
    for step in range(2):
        losses = [run.update.gradients(run.reading.step(step)) for run in runs]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-6)
    gradients = [{name: p.grad for name, p in run.update.models.parameters.items()} for run in runs]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=name)


def test_later_updates_can_replay_the_classes_before_and_the_updates_own(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    version = trained(artifacts, spec)
    assert version.notes == {"features": 5}
    found = version.feature_statistics
    assert list(found) == ["green", "blue", "red"]
    assert found["green"] == spec.feature_statistics["green"]
    kept = FeatureStatistics.from_bytes(artifacts.get(found["red"]))
    expected = FeatureStatistics.of(features_of(spec, artifacts, "red"))
    torch.testing.assert_close(kept.mean, expected.mean)
    torch.testing.assert_close(kept.covariance, expected.covariance)


def test_two_spellings_of_a_class_have_their_statistics_together(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    first, *others = spec.images
    images = (replace(first, texts=(first.class_name.upper(),)), *others)
    spelled = replace(spec, images=images, classes=tuple(sorted({e.class_name for e in images})))
    assert len(spelled.classes) == 3
    once = trained(artifacts, spelled).feature_statistics
    again = replace(spelled, learned=tuple(once), feature_statistics=once)
    twice = trained(artifacts, again).feature_statistics
    for found, images_of_each in ((once, 5), (twice, 10)):
        counts = {
            name.lower(): int(FeatureStatistics.from_bytes(artifacts.get(digest)).count)
            for name, digest in found.items()
            if name != "green"
        }
        assert len(found) == 3
        assert counts == {"red": images_of_each, "blue": images_of_each}


def test_each_class_that_is_drawn_or_measured_renews_the_lease(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    """With many classes of wide features, either takes longer than a lease."""
    green = spec.feature_statistics["green"]
    many = {f"green {n}": green for n in range(7)}
    watching = Watching()
    trained(artifacts, replace(spec, learned=tuple(many), feature_statistics=many), watching)
    for n in range(1, 8):
        assert ("loading", n, 7) in watching.steps
    for n in (1, 2):
        assert ("measuring", n, 2) in watching.steps


def test_statistics_end_with_an_update_that_trains_the_image_tower(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    without = {"method": Method.VRLWF, "learning_rate": 1e-4}
    text = with_recipe(spec, **without, part=ModelPart.TEXT)
    assert trained(artifacts, text).feature_statistics == spec.feature_statistics
    whole = with_recipe(spec, **without, part=ModelPart.WHOLE)
    assert trained(artifacts, whole).feature_statistics == {}


def test_the_teacher_must_see_images_as_the_student_does(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    moved = replace(spec, root=another_root(artifacts))
    for of in (moved, replace(moved, feature_statistics={})):  # or this update's would be useless
        with pytest.raises(ModelNotTrainable, match="Choose teacher 'parent'") as refusal:
            prepared(artifacts, of)
        assert refusal.value.pointer == "/recipe/teacher"
        prepared(artifacts, with_recipe(of, teacher=TeacherPolicy.PARENT))
        prepared(artifacts, with_recipe(of, terms=()))


@pytest.mark.parametrize(("learned", "share"), [(("green",), 0.0), (("green", "grey"), 1.0)])
def test_training_starts_nearer_to_the_root_only_if_every_class_is_replayed(
    learned: tuple[str, ...], share: float, spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    root = load(spec.parent, artifacts)
    state = root.network.state_dict()
    moved = {n: t if n.startswith("visual.") else t + 0.01 for n, t in state.items()}
    parent = publish(root.config, moved, artifacts, lambda done, total: None).digest
    later = with_recipe(replace(spec, parent=parent, learned=learned), warm_start=0.0)
    start = prepared(artifacts, later).update.models.parameters
    from_root = all(torch.equal(value, state[name]) for name, value in start.items())
    assert from_root == (share == 0)
