"""Advice on the evidence for a verdict: enough test images for the gain, and for what guards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from core.domain.advice.finding import Finding, Severity, listed
from core.domain.advice.zero_shot import Recognition
from core.domain.datasets.split import HOLDOUT_SHARE, VALIDATION_SHARE
from core.domain.gate.intervals import Flips, quantile, score
from core.domain.gate.policy import GatePolicy
from core.domain.gate.reasons import points
from core.domain.values import counted

_TEST_SHARE = 1 - VALIDATION_SHARE  # of a suite or holdout


def images_needed(gain: float, policy: GatePolicy) -> int | None:
    """Return how many test images a gain needs to be firm if no right answer becomes wrong.

    Its lower bound then reaches the policy's wanted gain. Returns None if no number would do.
    """
    reached = score(Flips(count=1.0, gained=gain, lost=0.0), policy.wanted_gain)
    if reached <= 0:
        return None
    root = quantile(policy.alpha) / reached  # scores grow with the square root of the images
    return ceil(root * root)


def gain_finding(test: int, parent: Recognition | None, policy: GatePolicy) -> Finding:
    """Return whether so many test images give a firm verdict on the gain.

    The gain is what an update reaches that halves the parent's errors; without the parent's
    accuracy, the largest one possible.
    """
    gain, what = 1.0, "the largest possible"
    if parent is not None:
        gain, what = (1 - parent.share) / 2, "half of the parent's errors"
    assumed = f"A gain of {points(gain, signed=False)} points ({what})"
    needed = images_needed(gain, policy)
    facts = {"test_images": test, "gain": gain, "needed": needed}
    if needed is None:
        return Finding(
            code="gain_out_of_reach",
            severity=Severity.WARNING,
            message=f"{assumed} does not exceed the wanted gain of "
            f"{points(policy.wanted_gain, signed=False)} points. Lower the policy's wanted gain, "
            "or teach classes that the parent does not recognise.",
            facts=facts,
        )
    required = f"{assumed} needs {counted(needed, 'test image')} for a firm verdict"
    if test >= needed:
        return Finding(
            code="holdout_sufficient",
            severity=Severity.INFO,
            message=f"{required}, and the holdout has {test:,}.",
            facts=facts,
        )
    more = ceil((needed - test) / (HOLDOUT_SHARE * _TEST_SHARE))
    return Finding(
        code="holdout_small",
        severity=Severity.WARNING,
        message=f"{required}, but the holdout has {test:,}: add about {counted(more, 'image')} to "
        "the dataset.",
        facts={**facts, "more_images": more},
    )


@dataclass(frozen=True, kw_only=True)
class GuardingSet:
    """A suite, an earlier holdout or several of them, which may guard against forgetting."""

    name: str
    test: int  # images


def guard_findings(sets: Sequence[GuardingSet], policy: GatePolicy) -> Iterator[Finding]:
    """Yield which sets are too small to guard, and whether any is large enough."""
    least = policy.minimum_count
    few = {one.name: one.test for one in sets if one.test < least}
    if len(few) == len(sets):
        images = ceil(least / _TEST_SHARE)
        yield Finding(
            code="no_guard",
            severity=Severity.WARNING,
            message=f"No suite or earlier holdout has {counted(least, 'test image')}, so no "
            f"version is promoted automatically: add a suite of about {counted(images, 'image')}.",
            facts={"minimum_count": least},
        )
    if few:
        shown = listed([f"{name} ({test:,})" for name, test in few.items()])
        yield Finding(
            code="advisory_measures",
            severity=Severity.INFO,
            message=f"Sets with fewer than {least:,} test images can fail the update but do not "
            f"guard it: {shown}.",
            facts={"sets": few, "minimum_count": least},
        )
