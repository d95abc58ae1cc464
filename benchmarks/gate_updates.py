"""Measure how often whole updates pass the default policy: `make bench-gate-updates`.

The first table has updates that forget nothing over the old lists of classes, but answer their
newest classes for a part of the images as soon as those are on the list, judged as at commit
7cf1cace and as now. The second has harmless updates of somebody who begins with one suite, the
third updates that lose a single class among many. Each image is simulated; in the first two, the
gate itself judges some draws too, and the run stops if the two differ. `docs/studies/gate.md`
discusses the tables.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.calibration.intervals import IN_USE, Mask
from benchmarks.calibration.rates import (
    DRAWS,
    FAILED,
    PASSED,
    SPOT_CHECKS,
    Gate,
    Guard,
    shares,
    verdicts,
)
from benchmarks.calibration.sample import SampledCounts
from benchmarks.output import publish
from core.gate.classes import ClassLoss, lost_classes
from core.gate.measures import ClassList, MeasureKind
from core.gate.rules import PARENT, ROOT

SEED = 1


def limit(kind: MeasureKind, asked: ClassList, role: str = PARENT) -> float:
    """Return the loss that the default policy allows."""
    return IN_USE.tolerances(kind, asked)[role]


SUITE = limit(MeasureKind.ZERO_SHOT, ClassList.OWN)

SUITE_ROOT = limit(MeasureKind.ZERO_SHOT, ClassList.OWN, ROOT)

SUITE_UNION = limit(MeasureKind.ZERO_SHOT, ClassList.UNION)

HOLDOUT = limit(MeasureKind.HOLDOUT, ClassList.OWN)

HOLDOUT_UNION = limit(MeasureKind.HOLDOUT, ClassList.UNION)


def first(accuracy: float, images: int, draws: int, rng: np.random.Generator) -> Mask:
    """Return the right answers of a version, (draws, images)."""
    right: Mask = rng.random((draws, images)) < accuracy
    return right


def flipped(right: Mask, accuracy: float, flips: float, rng: np.random.Generator) -> Mask:
    """Return the right answers of a next version of the same true accuracy."""
    change = np.where(right, flips / 2 / accuracy, flips / 2 / (1 - accuracy))
    return right ^ (rng.random(right.shape) < change)


def guard(before: Mask, now: Mask, tolerance: float, *, pooled: bool = False) -> Guard:
    """Return the measure of two versions' answers, (draws, images)."""
    draws, images = before.shape
    drawn = SampledCounts(
        question="images",
        images=images,
        count=np.full(draws, images),
        gained=(now & ~before).sum(axis=1),
        lost=(before & ~now).sum(axis=1),
        design_effect=np.ones(draws),
    )
    return Guard(drawn=drawn, tolerance=tolerance, pooled=pooled)


def measures_of(before: Mask, now: Mask, tolerance: float, parts: int) -> list[Guard]:
    """Return the measure of all images and, if they are several holdouts, also of each."""
    together = guard(before, now, tolerance)
    if parts == 1:
        return [together]
    old, new = (np.array_split(answers, parts, axis=1) for answers in (before, now))
    each = [guard(b, n, tolerance, pooled=True) for b, n in zip(old, new, strict=True)]
    return [*each, together]


# Newest classes that swallow earlier ones.


SWALLOWED = (0.0, 0.06, 0.1, 0.2, 1.0)  # share of images for which the newest classes are answered

SIZES = (200, 500, 1000)  # images of the suite, and of the earlier holdouts together

KNOWN, STEADY = 0.9, 0.02  # accuracy of the parent, and answers that flip over the old lists

UPDATES = 2  # with earlier holdouts


def swallowing(rng: np.random.Generator, draws: int = DRAWS) -> Iterator[dict[str, Any]]:
    """Yield how often updates pass whose newest classes take a share of all images.

    Beside suite and holdouts, a captioned suite of 1,000 images guards, which has no list of
    classes: without it no update with 200 images would pass at all.
    """
    for images in SIZES:
        for share in SWALLOWED:
            beside = first(KNOWN, 1000, draws, rng)
            own = [guard(beside, flipped(beside, KNOWN, STEADY, rng), SUITE)]
            union: list[Guard] = []
            for number, over_own, over_union in (
                (1, SUITE, SUITE_UNION),
                (UPDATES, HOLDOUT, HOLDOUT_UNION),
            ):
                before = first(KNOWN, images, draws, rng)
                kept = flipped(before, KNOWN, STEADY, rng)
                left = kept & (rng.random(kept.shape) >= share)
                own += measures_of(before, kept, over_own, number)
                union += measures_of(before, left, over_union, number)
            now = shares([*own, *union], Gate(policy=IN_USE), checked=SPOT_CHECKS)
            yield {
                "images": images,
                "swallowed %": 100 * share,
                "points lost": round(100 * KNOWN * share, 1),
                "passed before %": round(100 * passed_before(own), 2),
                "passed now %": round(100 * now[PASSED], 2),
                "failed now %": round(100 * now[FAILED], 2),
            }


def passed_before(own: Sequence[Guard]) -> float:
    """Return the share that passed at commit 7cf1cace, which asked over the old lists alone.

    A measure below the policy's minimum of images could fail, and else had no influence.
    """
    enough = [replace(one, pooled=False) for one in own if one.drawn.images >= IN_USE.minimum_count]
    held, failed = verdicts(enough, IN_USE) == PASSED, verdicts(own, IN_USE) == FAILED
    return float((held & ~failed).mean())


# Harmless updates of a newcomer.


FLIPS = (0.05, 0.1, 0.18)

SUITES = (400, 500, 1000, 2000)  # test images; of 500 images given, 400 are

HELD_OUT = 80  # test images: a fifth of 500 is held out, and four fifths of that judge

ON_SUITE, ON_HOLDOUT = 0.5, 0.8  # accuracies


def newcomer(rng: np.random.Generator, draws: int = 2 * DRAWS) -> Iterator[dict[str, Any]]:
    """Yield how often a first and a second update pass that lose nothing and gain clearly.

    If the lists of classes are alike, each image is right over the union exactly where it is right
    over the old list; else the two lists' answers flip independently. The second update is judged
    where the first has passed, whose luck it inherits.
    """
    for images in SUITES:
        for flips in FLIPS:
            row: dict[str, Any] = {"test images": images, "flips %": 100 * flips}
            for name, alike in (("alike", True), ("apart", False)):
                one, two = _two_updates(images, flips, rng, draws, alike=alike)
                row[f"first %, {name}"] = round(100 * one, 1)
                row[f"then second %, {name}"] = None if two is None else round(100 * two, 1)
            yield row


def _two_updates(
    images: int, flips: float, rng: np.random.Generator, draws: int, *, alike: bool
) -> tuple[float, float | None]:
    """Return how often the first update passes, and the second of those; None if none does."""

    def following(right: list[Mask], accuracy: float) -> list[Mask]:
        own = flipped(right[0], accuracy, flips, rng)
        return [own, own if alike else flipped(right[1], accuracy, flips, rng)]

    gate = Gate(policy=IN_USE)
    root = [first(ON_SUITE, images, draws, rng) for _ in ClassList]
    if alike:
        root[1] = root[0]
    parent = following(root, ON_SUITE)
    measures = [guard(root[0], parent[0], SUITE), guard(root[1], parent[1], SUITE_UNION)]
    one = shares(measures, gate, checked=SPOT_CHECKS)[PASSED]
    promoted = verdicts(measures, IN_USE) == PASSED
    if not promoted.any():
        return one, None
    root, parent = [r[promoted] for r in root], [p[promoted] for p in parent]
    child = following(parent, ON_SUITE)
    learned = [first(ON_HOLDOUT, HELD_OUT, len(child[0]), rng) for _ in ClassList]
    if alike:
        learned[1] = learned[0]
    kept = following(learned, ON_HOLDOUT)
    measures = [
        guard(parent[0], child[0], SUITE),
        guard(root[0], child[0], SUITE_ROOT),
        guard(parent[1], child[1], SUITE_UNION),
        guard(learned[0], kept[0], HOLDOUT),
        guard(learned[1], kept[1], HOLDOUT_UNION),
    ]
    return one, shares(measures, gate, checked=SPOT_CHECKS)[PASSED]


# One class among many: how often it alone fails a version.

CLASSES = (10, 100, 1000)

OF_EACH = (5, 10, 20, 50, 100)  # images

FRESH = 0.3  # share of answers that a harmless update draws anew

SPREAD = 0.15  # standard deviation of the classes' accuracies, whose mean is `ON_HOLDOUT`


def one_class(
    rng: np.random.Generator, draws: int = DRAWS, numbers: Sequence[int] = CLASSES
) -> Iterator[dict[str, Any]]:
    """Yield how often a class fails a version that loses nothing, or one class, wholly or mostly.

    The lost class was right in all of its images.
    """
    for classes in numbers:
        for images in OF_EACH:
            row: dict[str, Any] = {"classes": classes, "images of each": images}
            tries = max(100, draws * 10 // classes)
            for name, share in (("loses nothing", 0.0), ("80 % of one", 0.8), ("one", 1.0)):
                fails = sum(_fails(classes, images, share, rng) for _ in range(tries))
                row[f"fails %, {name}"] = round(100 * fails / tries, 2)
            yield row


def _fails(classes: int, images: int, lost: float, rng: np.random.Generator) -> bool:
    """Return whether a class fails one draw of a version, which loses a share of one of them."""
    accuracy = np.clip(rng.normal(ON_HOLDOUT, SPREAD, (classes, 1)), 0.02, 0.98)
    before = rng.random((classes, images)) < accuracy
    anew = rng.random((classes, images)) < FRESH
    now = np.where(anew, rng.random((classes, images)) < accuracy, before)
    if lost:
        before[0] = True
        now[0] = np.arange(images) >= round(lost * images)
    found = [
        ClassLoss(
            kind=MeasureKind.ZERO_SHOT,
            name="suite",
            baseline=PARENT,
            baseline_version=1,
            asked=ClassList.OWN,
            class_name=str(number),
            images=images,
            right=int(new.sum()),
            right_before=int(old.sum()),
            gained=int((new & ~old).sum()),
            lost=int((old & ~new).sum()),
        )
        for number, (new, old) in enumerate(zip(now, before, strict=True))
    ]
    return bool(lost_classes(found, IN_USE.class_tolerance, IN_USE.alpha))


def main() -> None:
    """Simulate, and print and write the tables."""
    swallowed = list(swallowing(np.random.default_rng(SEED)))
    publish("gate_updates-swallowed", swallowed, draws=DRAWS, seed=SEED)
    begun = list(newcomer(np.random.default_rng(SEED)))
    publish("gate_updates-newcomer", begun, draws=2 * DRAWS, seed=SEED)
    alone = list(one_class(np.random.default_rng(SEED)))
    publish("gate_updates-classes", alone, draws=DRAWS, seed=SEED)


if __name__ == "__main__":
    main()
