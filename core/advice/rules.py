"""Advice on an update before it is ordered."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil, isinf
from statistics import median

from core.advice.findings import ClassImages, Finding, Recognition, Severity, listed
from core.datasets.manifests import HOLDOUT_SHARE, VALIDATION_SHARE
from core.gate.guards import suites_need
from core.gate.intervals import Flips
from core.gate.phrases import points
from core.gate.rules import GatePolicy
from core.gate.sample_size import times_to_hold
from core.jobs.orders import UpdateOrder
from core.recipes.defaults import DefaultRecipe
from core.recipes.fields import MixingChoice, ModelPart
from core.recipes.rules import Recipe
from core.registry.versions import Model
from core.values import counted


@dataclass(frozen=True, kw_only=True)
class ClassAdvice:
    """The numbers of one class."""

    images: ClassImages
    recognised: Recognition | None  # by the parent; None: not sampled


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The numbers and findings on an order that could start."""

    model: Model
    order: UpdateOrder
    parent: int | None  # None: the model's root is still being imported
    classes: tuple[ClassAdvice, ...]
    steps: int
    seconds: float | None  # None: unknown
    findings: tuple[Finding, ...]


# The recipe, beside the default of the model.


def recipe_findings(default: DefaultRecipe | None, recipe: Recipe) -> Iterator[Finding]:
    """Yield the default recipe, None before the root is imported, and if the rate is far above."""
    if default is None:
        return
    fields = ", ".join(f"{name} {value}" for name, value in default.fields.items())
    differs = f"differs from the general one in {fields}" if fields else "is the general one"
    yield Finding(
        code="default_recipe",
        severity=Severity.INFO,
        message=f"The model's default recipe, '{default.name}', {differs}. {default.source}",
        facts=asdict(default),
    )
    if reason := default.unsafe_reason(recipe):
        yield Finding(
            code="recipe_unsafe",
            severity=Severity.WARNING,
            message=f"{reason} The order must be forced.",
            facts={"learning_rate": recipe.learning_rate},
        )


# How long an update takes, from earlier updates of the same model.


@dataclass(frozen=True, kw_only=True)
class PastUpdate:
    """The times of an earlier update that was never interrupted."""

    part: ModelPart
    mixing_choice: MixingChoice
    device: str
    captions: bool = False  # in place of classes
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


def expected_duration(
    past: Sequence[PastUpdate], recipe: Recipe, images: int, *, captions: bool = False
) -> Duration | None:
    """Return how long training on so many images and scoring take; None if unknown.

    `past` is newest first. Only updates of the same part count, of captions or of classes as this
    one, on the device of the newest. A
    mixing choice on validation parts evaluates a model many times, so that only updates with the
    same one count.
    """
    like = (recipe.part, _validated(recipe.mixing_choice), captions)
    alike = [one for one in past if (one.part, _validated(one.mixing_choice), one.captions) == like]
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


# The evidence for a verdict: enough test images for the gain, and for what guards.

_TEST_SHARE = 1 - VALIDATION_SHARE  # of a suite or holdout


def images_needed(gain: float, policy: GatePolicy, lost: float = 0.0) -> int | None:
    """Return how many test images make a gain firm with a chance of 80 %.

    Its lower bound then reaches the policy's wanted gain. `lost` is the share of the answers that
    become wrong. Returns None if no number would do.
    """
    flips = Flips(count=1.0, gained=gain + lost, lost=lost)
    times = times_to_hold(flips, policy.wanted_gain, policy.gain_error)
    return None if isinf(times) else ceil(times)


def gain_finding(
    test: int, parent: Recognition | None, policy: GatePolicy, lost: float = 0.0
) -> Finding:
    """Return whether so many test images give a firm verdict on the gain.

    The gain is what an update reaches that halves the parent's errors; without the parent's
    accuracy, the largest one possible. `lost` is the share of right answers that the parent's own
    update lost on its holdout, and this one is taken to lose.
    """
    gain, what, lost_answers = 1.0, "the largest possible", 0.0
    if parent is not None:
        gain, what = (1 - parent.share) / 2, "half of the parent's errors"
        lost_answers = min(lost * parent.share, gain)  # with the gain, at most the parent's errors
    assumed = f"gain of {points(gain, signed=False)} points ({what})"
    needed = images_needed(gain, policy, lost_answers)
    facts = {"test_images": test, "gain": gain, "needed": needed}
    if needed is None:
        return Finding(
            code="gain_out_of_reach",
            severity=Severity.WARNING,
            message=f"A {assumed} does not exceed the wanted gain of "
            f"{points(policy.wanted_gain, signed=False)} points. Lower the policy's wanted gain, "
            "or teach classes that the parent does not recognise.",
            facts=facts,
        )
    required = (
        f"To show a {assumed} with a chance of 80 %, the holdout needs "
        f"{counted(needed, 'test image')}; it has {test:,}"
    )
    if test >= needed:
        return Finding(
            code="holdout_sufficient",
            severity=Severity.INFO,
            message=f"{required}.",
            facts=facts,
        )
    more = ceil((needed - test) / (HOLDOUT_SHARE * _TEST_SHARE))
    return Finding(
        code="holdout_small",
        severity=Severity.WARNING,
        message=f"{required}: add about {counted(more, 'image')} to the dataset.",
        facts={**facts, "more_images": more},
    )


@dataclass(frozen=True, kw_only=True)
class GuardingSet:
    """A suite, an earlier holdout or several of them, which may guard against forgetting."""

    name: str
    test: int  # distinct images
    untaught: int = 0  # of a suite's, those that show what neither this update nor the line teaches


def guard_findings(sets: Sequence[GuardingSet], policy: GatePolicy) -> Iterator[Finding]:
    """Yield which sets are too small to guard, whether any is large enough, and all suites."""
    least = policy.minimum_count
    few = {one.name: one.test for one in sets if one.test < least}
    if len(few) == len(sets):
        images = ceil(least / _TEST_SHARE)
        yield Finding(
            code="no_guard",
            severity=Severity.WARNING,
            message=f"No suite or earlier holdout has {counted(least, 'distinct test image')}, so "
            "no version is promoted automatically: add a suite of about "
            f"{counted(images, 'image')}.",
            facts={"minimum_count": least},
        )
    elif (of_suites := sum(one.untaught for one in sets)) < suites_need(least):
        yield Finding(
            code="small_suites",
            severity=Severity.WARNING,
            message="What no update has taught is asked by suites alone, and together they have "
            f"{counted(of_suites, 'distinct test image')} of classes that neither this update nor "
            f"an earlier one teaches. It takes {suites_need(least):,}, so no version is promoted "
            "automatically: let a suite grow, or add one.",
            facts={"images": of_suites, "needed": suites_need(least)},
        )
    if few:
        shown = listed([f"{name} ({test:,})" for name, test in few.items()])
        yield Finding(
            code="small_sets",
            severity=Severity.INFO,
            message=f"These have fewer than {least:,} distinct test images, so they can stop a "
            f"version but cannot alone let one pass: {shown}.",
            facts={"sets": few, "minimum_count": least},
        )
