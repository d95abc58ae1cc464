"""Updates of part `top`, which draw what is below the top of the image tower."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.clip.model import load, publish
from core.clip.tops import encode_below, encode_top
from core.errors import ModelNotTrainable
from core.learning import statistics
from core.learning.data import TrainingImages
from core.learning.statistics import (
    RANK,
    ActivationStatistics,
    FeatureStatistics,
    merged,
    read_statistics,
)
from core.learning.vocabulary import generator_of
from core.recipes.fields import LossTerm, Method, ModelPart, Precision, TeacherPolicy
from core.registry.image_tops import is_below_top
from core.training.trainer import TrainingSpec
from core.values import Digest
from tests.support.factories import digest
from tests.support.learning.lessons import (
    Watching,
    prepared,
    red_and_blue,
    stopped,
    train,
    trained,
    with_recipe,
)
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.learning.towers import config_of
from tests.support.memory_artifacts import MemoryArtifacts

CONVNEXT = config_of("timm with dropout")


def some(count: int, *, seed: str = "activations") -> Tensor:
    """Activations that vary in three directions, and a little in all."""
    generator = generator_of(seed)
    along = torch.randn(count, 3, generator=generator) @ torch.randn(3, 24, generator=generator)
    found: Tensor = 1 + along + 0.1 * torch.randn(count, 24, generator=generator)
    return found.view(count, 6, 2, 2)


def below(spec: TrainingSpec, artifacts: MemoryArtifacts, class_name: str) -> Tensor:
    """Activations of the images of a class, below the parent's top."""
    model = load(spec.parent, artifacts)
    entries = [e for e in (*spec.images, *spec.exemplars) if e.class_name == class_name]
    images = TrainingImages(entries, artifacts, model.preprocess, seed=0, augment=False)
    with torch.no_grad():
        return encode_below(model, images.batch([(at, 0) for at in range(len(entries))]))


def moved(artifacts: MemoryArtifacts, version: Digest, *, below_top: bool) -> Digest:
    """A version whose image tower differs below its top, or above."""
    model = load(version, artifacts)
    state = {
        name: tensor + 0.01
        if name.startswith("visual.") and is_below_top(name) is below_top
        else tensor
        for name, tensor in model.network.state_dict().items()
    }
    return publish(model.config, state, artifacts, lambda done, total: None).digest


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    """A second update: the green squares were taught before, and are gone."""
    spec = red_and_blue(artifacts, CONVNEXT)
    spec = with_recipe(spec, method=Method.VRLWF_FEATURES, part=ModelPart.TOP)
    statistics = ActivationStatistics.of(below(spec, artifacts, "green"))
    return replace(
        spec,
        learned=("green",),
        exemplars=(),
        feature_statistics={"green": artifacts.put(statistics.to_bytes())},
    )


def test_an_image_tower_in_two_gives_the_features_of_the_whole() -> None:
    model = tiny_clip(config=CONVNEXT).freeze()
    generator = generator_of("pixels")
    pixels = torch.randint(256, (3, 3, 64, 64), generator=generator, dtype=torch.uint8)
    assert torch.equal(encode_top(model, encode_below(model, pixels)), model.encode_images(pixels))


def test_statistics_have_the_mean_the_variances_and_the_leading_directions() -> None:
    rows = some(500)
    found = ActivationStatistics.of(rows)
    assert int(found.count) == 500
    torch.testing.assert_close(found.mean, rows.mean(dim=0))
    flat = rows.flatten(1).double()
    covariance = torch.cov(flat.T, correction=0)
    variances = found.directions.square().sum(dim=0) + found.diagonal
    torch.testing.assert_close(variances, covariance.diagonal().float())
    lengths = found.directions.norm(dim=1).square()
    values = torch.linalg.eigvalsh(covariance).flip(0).float()
    torch.testing.assert_close(lengths, values[: len(lengths)], rtol=1e-4, atol=1e-6)


def test_more_numbers_than_directions_are_left_to_the_diagonal() -> None:
    wide = torch.randn(100, 5, 4, 4, generator=generator_of("wide"))
    found = ActivationStatistics.of(wide)
    assert found.directions.shape == (RANK, 80)
    assert (found.diagonal > 0.1).all()
    drawn = found.draw(20_000, generator_of("drawn"))
    assert drawn.shape == (20_000, 5, 4, 4)
    torch.testing.assert_close(drawn.mean(dim=0), found.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(drawn.var(dim=0), wide.var(dim=0, correction=0), rtol=0.06, atol=0.0)


def test_a_class_of_one_image_is_drawn_as_that_image() -> None:
    one = some(1)
    drawn = ActivationStatistics.of(one).draw(3, generator_of("one"))
    torch.testing.assert_close(drawn, one.expand(3, -1, -1, -1))


def test_merged_statistics_are_those_of_all_images() -> None:
    one, other = some(40), some(90, seed="others") + 2
    both = ActivationStatistics.of(torch.cat([one, other]))
    found = merged(ActivationStatistics.of(one), ActivationStatistics.of(other))
    assert isinstance(found, ActivationStatistics)
    assert int(found.count) == 130
    torch.testing.assert_close(found.mean, both.mean)
    for each in (found, both):
        assert len(each.directions) == 24
    torch.testing.assert_close(
        found.directions.T @ found.directions, both.directions.T @ both.directions
    )
    other_kind = FeatureStatistics.of(torch.eye(2))
    assert merged(found, other_kind) is other_kind


def test_merged_statistics_of_many_numbers_have_all_variances() -> None:
    one, other = (torch.randn(80, 5, 4, 4, generator=generator_of(name)) for name in ("a", "b"))
    found = merged(ActivationStatistics.of(one), ActivationStatistics.of(3 * other + 1))
    assert isinstance(found, ActivationStatistics)
    assert len(found.directions) == RANK
    variances = found.directions.square().sum(dim=0) + found.diagonal
    both = torch.cat([one, 3 * other + 1]).flatten(1)
    torch.testing.assert_close(variances, both.var(dim=0, correction=0))


def test_directions_of_many_images_are_those_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = some(400)
    whole = ActivationStatistics.of(rows)
    monkeypatch.setattr(statistics, "MOST_ROWS", 200)
    found = ActivationStatistics.of(rows)
    torch.testing.assert_close(found.mean, whole.mean)
    torch.testing.assert_close(
        found.directions[:3].norm(dim=1), whole.directions[:3].norm(dim=1), rtol=0.2, atol=0.0
    )
    variances = found.directions.square().sum(dim=0) + found.diagonal
    flat = rows.flatten(1)
    assert (variances >= flat.var(dim=0, correction=0) * 0.99).all()


def test_statistics_are_read_as_they_were_written() -> None:
    found = ActivationStatistics.of(some(9))
    read = read_statistics(found.to_bytes())
    assert isinstance(read, ActivationStatistics)
    for name, tensor in vars(found).items():
        assert torch.equal(getattr(read, name), tensor)
    assert ActivationStatistics.of(some(9)).to_bytes() == found.to_bytes()


def test_a_step_has_the_loss_and_gradients_of_the_images_themselves(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    """Activations drawn without spread are those of an image, which an exemplar can show."""
    source = red_and_blue(artifacts, CONVNEXT)
    shown = source.exemplars[0]
    one = ActivationStatistics.of(below(replace(source, exemplars=(shown,)), artifacts, "green"))
    drawn = replace(spec, feature_statistics={"green": artifacts.put(one.to_bytes())})
    drawn = with_recipe(drawn, feature_replay=1, micro_batch=3)
    real = replace(spec, exemplars=(shown,), feature_statistics={})
    real = with_recipe(real, feature_replay=0, exemplars=1)
    runs = [prepared(artifacts, of) for of in (drawn, real)]
    for step in range(2):
        data = [run.reading.step(step) for run in runs]
        assert not any(one.pixels.numel() for one in data)
        losses = [run.update.gradients(one) for run, one in zip(runs, data, strict=True)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-5)
    gradients = [{name: p.grad for name, p in run.update.models.parameters.items()} for run in runs]
    largest = max(one.abs().max().item() for one in gradients[0].values() if one is not None)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(
            gradient, gradients[1][name], rtol=1e-3, atol=1e-4 * largest, msg=name
        )
    trained_names = set(runs[0].update.models.parameters)
    assert any(name.startswith("visual.trunk.stages.3.") for name in trained_names)
    assert not any(map(is_below_top, trained_names))


def test_known_activations_give_the_step_of_the_pixels(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    """With augmentation they are not known, and each step reads pixels."""
    first = replace(spec, learned=(), feature_statistics={})
    reading = prepared(artifacts, with_recipe(first, method=Method.VRLWF, augment=True))
    knowing = prepared(artifacts, with_recipe(first, method=Method.VRLWF, augment=False))
    assert reading.known is None
    assert knowing.known is not None
    data = replace(
        reading.reading.step(0),
        pixels=torch.stack([knowing.reading.whole(0, 10)[at] for at in (3, 1, 4, 7)]),
        indices=torch.tensor([3, 1, 4, 7]),
    )
    one, other = (run.update.gradients(data) for run in (reading, knowing))
    assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


def test_a_batch_of_captions_in_parts_has_the_gradients_of_the_whole(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    told = tuple(
        replace(entry, texts=(f"{entry.class_name} {n}",)) for n, entry in enumerate(spec.images)
    )
    captions = replace(spec, images=(), classes=(), captioned=told)
    found = []
    for size in (0, 3):
        run = prepared(artifacts, with_recipe(captions, micro_batch=size))
        numbers = run.update.gradients(run.reading.step(0))
        found.append((numbers, {n: p.grad for n, p in run.update.models.parameters.items()}))
    (whole, gradients), (parts, others) = found
    assert parts == pytest.approx(whole, rel=1e-4, abs=1e-5)
    largest = max(one.abs().max().item() for one in gradients.values() if one is not None)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-4 * largest, msg=name)
    assert gradients["visual.head.proj.weight"].abs().max() > 0


def test_later_updates_can_replay_the_classes_before_and_the_updates_own(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    version = trained(artifacts, spec)
    assert version.notes == {"features": 5}
    found = version.feature_statistics
    assert list(found) == ["green", "blue", "red"]
    assert found["green"] == spec.feature_statistics["green"]
    kept = read_statistics(artifacts.get(found["red"]))
    expected = ActivationStatistics.of(below(spec, artifacts, "red"))
    assert isinstance(kept, ActivationStatistics)
    torch.testing.assert_close(kept.mean, expected.mean)
    later = replace(spec, parent=version.weights.digest, learned=(*found,), classes=("blue",))
    later = replace(later, images=spec.images[:4], feature_statistics=found)
    again = read_statistics(artifacts.get(trained(artifacts, later).feature_statistics["blue"]))
    assert int(again.count) > 5


def test_an_update_stopped_at_any_step_ends_in_the_same_digest(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    for precision in (Precision.FP32, Precision.BF16):
        one = with_recipe(spec, precision=precision)
        straight = train(artifacts, one).digest
        steps = prepared(artifacts, one).update.steps
        for at in (1, steps - 1):
            resumed = train(artifacts, one, Watching(), resume=stopped(artifacts, one, at=at))
            assert resumed.digest == straight


def test_statistics_stay_as_long_as_what_they_describe(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    of_features = FeatureStatistics.of(torch.nn.functional.normalize(torch.randn(5, 16), dim=1))
    digest = artifacts.put(of_features.to_bytes())
    both = replace(spec, feature_statistics={**spec.feature_statistics, "grey": digest})
    plain = {"method": Method.VRLWF, "augment": False, "learning_rate": 1e-4}
    for part, kept in (
        (ModelPart.TEXT, {"green", "grey"}),
        (ModelPart.TOP, {"green"}),
        (ModelPart.IMAGE, set()),
    ):
        found = trained(artifacts, with_recipe(both, **plain, part=part)).feature_statistics
        assert set(found) == kept
    run = prepared(artifacts, replace(both, learned=("green", "grey")))
    assert run.features == 5  # of green alone


def test_features_are_drawn_without_distillation_on_them_too(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    """The reference set alone has a teacher, or nothing has."""
    for terms in ((LossTerm.REFERENCE,), ()):
        run = prepared(artifacts, with_recipe(spec, terms=terms))
        assert run.features == 5
        assert run.known is not None
        assert run.known.teachers == ()
        assert run.update.gradients(run.reading.step(0))


def test_a_class_taught_again_by_the_other_part_has_the_newest_statistics(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    text = with_recipe(spec, method=Method.VRLWF_FEATURES, part=ModelPart.TEXT)
    green = tuple(replace(one, texts=("green",)) for one in spec.images[:5])
    again = replace(text, images=(*green, *spec.images[5:]), classes=("blue", "green", "red"))
    found = trained(artifacts, again).feature_statistics
    assert set(found) == {"blue", "green", "red"}
    for stored in found.values():
        assert isinstance(read_statistics(artifacts.get(stored)), FeatureStatistics)


def test_an_update_that_draws_nothing_leaves_statistics_unread(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    gone = replace(spec, feature_statistics={"green": digest("gone")})
    plain = with_recipe(gone, method=Method.VRLWF, part=ModelPart.TEXT, augment=False)
    assert trained(artifacts, plain).feature_statistics == gone.feature_statistics


def test_a_teacher_may_differ_in_the_top_alone(
    spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    prepared(artifacts, replace(spec, root=moved(artifacts, spec.root, below_top=False)))
    other = replace(spec, root=moved(artifacts, spec.root, below_top=True))
    with pytest.raises(ModelNotTrainable, match="Choose teacher 'parent'") as refusal:
        prepared(artifacts, other)
    assert refusal.value.pointer == "/recipe/teacher"
    prepared(artifacts, with_recipe(other, teacher=TeacherPolicy.PARENT))


def test_an_image_tower_without_such_a_top_is_refused(artifacts: MemoryArtifacts) -> None:
    spec = with_recipe(red_and_blue(artifacts), part=ModelPart.TOP)
    with pytest.raises(ModelNotTrainable, match="choose part 'text'") as refusal:
        prepared(artifacts, spec)
    assert refusal.value.pointer == "/recipe/part"
