"""Half precision: overflows pass, and what is no number any more stops the update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from core.errors import TrainingDiverged
from core.learning.methods import LearningMethod, MakeMethod, Term
from core.learning.setup import PreparedRun
from core.learning.step import from_bytes, to_bytes
from core.learning.student import Batch
from core.learning.trainer import UpdateTrainer
from core.learning.vocabulary import Columns
from core.recipes.fields import Method, Precision, TeacherPolicy
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import PRECISIONS, Watching, prepared, red_and_blue, with_recipe
from tests.support.learning.rounding import unit
from tests.support.learning.steps import noisy, stand
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

CPU = torch.device("cpu")


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    return with_recipe(red_and_blue(artifacts), method=Method.FT)


def spoiling(value: float, when: Callable[[int], bool]) -> MakeMethod:
    """Fine-tuning whose gradients are spoilt at some steps."""

    class Spoiling(LearningMethod):
        def adjust(
            self,
            parameters: Mapping[str, nn.Parameter],
            step: int,
            again: Callable[[], object],
        ) -> None:
            if when(step):
                for parameter in parameters.values():
                    parameter.grad = torch.full_like(parameter, value)

    return Spoiling


def losing(after: int) -> MakeMethod:
    """Fine-tuning whose loss is no number any more after so many steps."""

    class Losing(LearningMethod):
        def __init__(self, recipe: Recipe, columns: Columns) -> None:
            super().__init__(recipe, columns)
            self._step = 0

        def terms(self) -> tuple[Term, ...]:
            (ce,) = super().terms()

            def loss(batch: Batch) -> Tensor:
                value = ce.loss(batch)
                return value * torch.nan if self._step >= after else value

            return (replace(ce, loss=loss),)

        def adjust(
            self,
            parameters: Mapping[str, nn.Parameter],
            step: int,
            again: Callable[[], object],
        ) -> None:
            self._step = step + 1

    return Losing


def values(update: PreparedRun) -> list[Tensor]:
    return [p.detach().clone() for p in update.update.models.parameters.values()]


def advance(update: PreparedRun) -> dict[str, float]:
    return update.update.advance(update.reading.step(update.update.step))


def run(artifacts: MemoryArtifacts, spec: TrainingSpec, make_method: MakeMethod) -> Watching:
    """Train until it ends or diverges; the watch has the terms of every good step."""
    monitor = Watching()
    trainer = UpdateTrainer(artifacts, device=CPU, threads=1, make_method=make_method)
    with pytest.raises(TrainingDiverged) as caught:
        trainer.train(spec, resume=None, monitor=monitor)
    assert caught.value.facts["step"] == len(monitor.terms)
    last = {name: monitor.terms[-1][name] for name in ("ce", "loss", "accuracy", "scale")}
    assert caught.value.facts["terms"] == last
    return monitor


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_loss_that_is_no_number_stops_with_the_step_and_the_last_good_terms(
    precision: Precision, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    monitor = run(artifacts, with_recipe(spec, precision=precision), losing(after=2))
    assert len(monitor.terms) == 2


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_a_gradient_that_is_no_number_stops_at_once_where_nothing_scales_it(
    precision: Precision, value: float, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    spoilt = spoiling(value, when=lambda step: step >= 3)
    monitor = run(artifacts, with_recipe(spec, precision=precision), spoilt)
    assert len(monitor.terms) == 3


def test_overflows_without_end_in_fp16_stop_the_update(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    recipe = {"precision": Precision.FP16, "epochs": 50}
    monitor = run(artifacts, with_recipe(spec, **recipe), spoiling(torch.inf, when=lambda _: True))
    assert len(monitor.terms) == 26  # from a scale of 2^16 to less than 2^-10


def test_a_restored_update_goes_on_with_the_scale_it_had(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    spec = with_recipe(spec, precision=Precision.FP16)
    spoilt = spoiling(torch.inf, when=lambda step: step < 2)
    first = prepared(artifacts, spec, make_method=spoilt)
    for _ in range(3):
        advance(first)
    state = from_bytes(to_bytes(first.update.state()))
    second = prepared(artifacts, spec)
    second.update.restore(state)
    assert second.update.state()["scaler"] == first.update.state()["scaler"]
    assert second.update.state()["scaler"]["scale"] == 2.0**14
    assert advance(first) == advance(second)
    assert all(map(torch.equal, values(first), values(second)))


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_half_precision_comes_close_to_fp32(precision: Precision) -> None:
    recipe = Recipe(
        sentences=6, sentence_length=6, teacher=TeacherPolicy.ROOT, precision=Precision.FP32
    )
    (numbers, exact), (near, rough) = (
        stand(replace(recipe, precision=p), parent=noisy(tiny_clip()), root=tiny_clip()).step()
        for p in (Precision.FP32, precision)
    )
    # About ten results on an image's way are rounded to half precision; the rest is fp32.
    within = 10 * unit(torch.bfloat16)
    assert near == pytest.approx(numbers, rel=within)
    for name, gradient in exact.items():
        assert rough[name].dtype == torch.float32
        if gradient.abs().max() > 1e-4:
            alike = torch.cosine_similarity(gradient.flatten(), rough[name].flatten(), dim=0)
            assert alike > 0.98, name
