"""Advice on how long an update takes, from earlier updates of the same model."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from core.domain.advice.finding import Finding, Severity
from core.domain.recipes.choices import MixingChoice, ModelPart
from core.domain.recipes.recipe import Recipe
from core.domain.values import counted


@dataclass(frozen=True, kw_only=True)
class PastUpdate:
    """The times of an earlier update that was never interrupted."""

    part: ModelPart
    mixing_choice: MixingChoice
    device: str
    images: int  # that its steps learned from
    training_s: float  # mixing included
    scoring_s: float


@dataclass(frozen=True, kw_only=True)
class Duration:
    """The expected duration of an update, and where it is from."""

    seconds: float
    device: str
    updates: int  # that it is the median of


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The steps of an update, and the images that all of them together learn from."""

    steps: int
    images: int


def workload(recipe: Recipe, images: int, *, exemplars: int) -> Workload:
    """Return the workload of an update with so many training images and exemplars."""
    epoch = recipe.epoch_of(images, exemplars)
    steps = recipe.steps_of(epoch)
    batch = min(recipe.batch_size, epoch) + min(recipe.exemplar_batch, exemplars)
    return Workload(steps=steps, images=steps * batch)


def expected_duration(past: Sequence[PastUpdate], recipe: Recipe, images: int) -> Duration | None:
    """Return how long training on so many images and scoring take; None if unknown.

    `past` is newest first. Only updates of the same part count, on the device of the newest. A
    mixing choice on validation parts evaluates a model many times, so that only updates with the
    same one count.
    """
    like = (recipe.part, _validated(recipe.mixing_choice))
    alike = [one for one in past if (one.part, _validated(one.mixing_choice)) == like]
    same = [one for one in alike if one.device == alike[0].device]
    if not same:
        return None
    speed = median(one.images / one.training_s for one in same)
    return Duration(
        seconds=round(images / speed + median(one.scoring_s for one in same), 1),
        device=same[0].device,
        updates=len(same),
    )


def duration_finding(steps: int, recipe: Recipe, duration: Duration | None) -> Finding:
    """Return how long the update takes."""
    if duration is None:
        choice = _validated(recipe.mixing_choice)
        mixing = f" and mixing choice '{choice}'" if choice else ""
        return Finding(
            code="duration_unknown",
            severity=Severity.INFO,
            message=f"Training takes {counted(steps, 'step')}. The time is unknown, because no "
            f"comparable update of this model, with part '{recipe.part}'{mixing}, has finished "
            "without an interruption.",
            facts={"steps": steps},
        )
    return Finding(
        code="duration",
        severity=Severity.INFO,
        message=f"Training takes {counted(steps, 'step')}; with scoring, about "
        f"{_spoken(duration.seconds)}, judging by {counted(duration.updates, 'earlier update')} "
        f"on {duration.device}.",
        facts={"steps": steps, "seconds": duration.seconds, "device": duration.device},
    )


def _validated(choice: MixingChoice) -> MixingChoice | None:
    """Return a mixing choice if it takes time: one on validation parts."""
    return choice if choice.uses_validation else None


def _spoken(seconds: float) -> str:
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return counted(round(seconds / length), unit)
    return counted(max(1, round(seconds)), "second")
