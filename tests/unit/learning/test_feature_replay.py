"""Updates that replay features of classes learned before."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.clip.model import load, publish
from core.errors import ModelNotTrainable
from core.learning.data import ImageEncoder
from core.learning.features import FeatureStatistics
from core.recipes.fields import Method, ModelPart, TeacherPolicy
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


def features_of(spec: TrainingSpec, artifacts: MemoryArtifacts, class_name: str) -> Tensor:
    """The parent's features of the images of a class."""
    entries = [e for e in (*spec.images, *spec.exemplars) if e.class_name == class_name]
    return encoder(spec, artifacts)(entries)


def encoder(spec: TrainingSpec, artifacts: MemoryArtifacts) -> ImageEncoder:
    return ImageEncoder(load(spec.parent, artifacts), artifacts, lambda done, total: None)


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


def test_a_first_update_has_nothing_to_replay(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    first = replace(spec, learned=(), feature_statistics={})
    version = trained(artifacts, first)
    assert version.notes == {}
    assert list(version.feature_statistics) == ["blue", "red"]
