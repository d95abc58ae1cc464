"""Measure how often whole updates pass the default policy: `make bench-gate-updates`.

The first table has updates that forget nothing over the old lists of classes, but answer their
newest classes for a part of the images as soon as those are on the list, judged as at commit
7cf1cace and as now; each image is simulated. The second has simulated updates that lose a single
class among many. The third has harmless updates of somebody who begins with one suite, drawn from
real versions of `bench-gate`, which has to run first; the last, how many images let 80 of 100 of
them pass. In the first and third, the gate itself judges some draws too, and the run stops if the
two differ. `docs/studies/gate.md` discusses the tables.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.intervals import Mask
from benchmarks.calibration.rates import (
    DRAWS,
    FAILED,
    IN_USE,
    PASSED,
    SPOT_CHECKS,
    Gate,
    Guard,
    shares,
    verdicts,
)
from benchmarks.calibration.sample import ROOT as BUNDLED
from benchmarks.calibration.sample import Outcomes, SampledCounts, names, read_all
from benchmarks.calibration.soft import Numbers, SoftCounts, SoftDisagreement
from benchmarks.output import OUT, publish
from core.gate.classes import ClassLoss, lost_classes
from core.gate.kinds import PARENT, ROOT, ClassList, MeasureKind

SEED = 1


def limit(kind: MeasureKind, asked: ClassList, role: str = PARENT) -> float:
    """Return the loss that the default policy allows."""
    return IN_USE.tolerances(kind, asked)[role]


SUITE = limit(MeasureKind.ZERO_SHOT, ClassList.OWN)

SUITE_ROOT = limit(MeasureKind.ZERO_SHOT, ClassList.OWN, ROOT)

SUITE_UNION = limit(MeasureKind.ZERO_SHOT, ClassList.UNION)

HOLDOUT = limit(MeasureKind.HOLDOUT, ClassList.OWN)

HOLDOUT_UNION = limit(MeasureKind.HOLDOUT, ClassList.UNION)

HOLDOUT_WITH_SUITES = limit(MeasureKind.HOLDOUT, ClassList.WITH_SUITES)


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
    """Return the measure of all images and, if they are several holdouts, also of each.

    Holdouts with the policy's minimum of images are not measured together.
    """
    together = guard(before, now, tolerance)
    if parts == 1:
        return [together]
    old, new = (np.array_split(answers, parts, axis=1) for answers in (before, now))
    pooled = before.shape[1] < parts * IN_USE.minimum_count
    each = [guard(b, n, tolerance, pooled=pooled) for b, n in zip(old, new, strict=True)]
    return [*each, together] if pooled else each


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

    A measure below the policy's minimum, 500 images, could fail, and else had no influence. The
    whole error was for one look.
    """
    policy = replace(IN_USE, minimum_count=500)
    enough = [replace(one, pooled=False) for one in own if one.drawn.images >= 500]
    held = verdicts(enough, policy, level=policy.alpha) == PASSED
    failed = verdicts(own, policy) == FAILED
    return float((held & ~failed).mean())


# Harmless updates of a newcomer.


FLIPS = (0.05, 0.1, 0.18)

SUITES = (400, 450, 500, 1000, 2000)  # test images; of 500 images given, about 400 are

HELD_OUT = 80  # test images: a fifth of 500 is held out, and four fifths of that judge

ALIKE = 0.025  # the largest difference of two versions that count as harmless


@dataclass(frozen=True, kw_only=True)
class Line:
    """Three real versions, root, parent and child, of which none is better on a pool of images.

    Changes are those of single images and of soft hits, of each kind of image. All six orders of
    the versions are equally frequent, so that every true difference is zero.
    """

    first: tuple[Numbers, Numbers]  # from root to parent
    second: tuple[Numbers, Numbers]  # from parent to child
    shares: Numbers

    @classmethod
    def of(cls, versions: Mapping[str, Outcomes], flips: float, views: int) -> "Line":
        """Return the line with this share of flips.

        It is made of the three versions whose flips are nearest to it, of those that are about
        equally good; images whose answers change are weighted alike.
        """
        found: list[tuple[float, NDArray[np.int64]]] = []
        for question in versions[BUNDLED].soft:
            names = [name for name in versions if name != BUNDLED]
            for three in combinations(names, 3):
                right = np.stack([versions[one].soft[question][:, : 1 + views] for one in three])
                single = right[:, :, 0].astype(float)
                if np.ptp(single.mean(axis=1)) <= ALIKE:
                    between = [abs(a - b).mean() for a, b in combinations(single, 2)]
                    found.append((float(np.mean(between)), right.astype(int)))
        share, hits = min(found, key=lambda one: abs(one[0] - flips))
        views_right = hits[:, :, 1:].sum(axis=2)
        soft = (hits[:, :, 0] + views_right / views) / 2  # (versions, images)
        rows = np.vstack(
            [
                np.column_stack([*hits[list(o), :, 0], *soft[list(o)]])
                for o in permutations(range(3))
            ]
        )
        kinds, number = np.unique(rows, axis=0, return_counts=True)
        singles, softs = kinds[:, :3].T, kinds[:, 3:].T
        shares = number / number.sum()
        moves = np.ptp(softs, axis=0) > 0
        times = flips / share
        still = (1 - times * shares[moves].sum()) / shares[~moves].sum()
        return cls(
            first=(singles[1] - singles[0], softs[1] - softs[0]),
            second=(singles[2] - singles[1], softs[2] - softs[1]),
            shares=shares * np.where(moves, times, still),
        )

    def draw(
        self, images: int, draws: int, rng: np.random.Generator
    ) -> tuple[SoftCounts, SoftCounts, SoftCounts]:
        """Draw suites; return the changes to the parent, to the child, and of both together."""
        counts = rng.multinomial(images, self.shares, size=draws).astype(float)
        both = self.first[0] + self.second[0], self.first[1] + self.second[1]
        one, two, all_ = (SoftCounts.of(counts, *c) for c in (self.first, self.second, both))
        return one, two, all_


def newcomer(
    versions: Mapping[str, Outcomes], rng: np.random.Generator, draws: int = 2 * DRAWS
) -> Iterator[dict[str, Any]]:
    """Yield how often a first and a second update pass that lose nothing and gain clearly.

    If the lists of classes are alike, each image is right over the union exactly where it is right
    over the old list; else the answers over each list are drawn independently. The second update is
    judged where the first has passed, whose luck it inherits.
    """
    for images in SUITES:
        for flips in FLIPS:
            row: dict[str, Any] = {"test images": images, "flips %": 100 * flips}
            line = Line.of(versions, flips, IN_USE.views)
            for soft in (False, True):
                for name, alike in (("alike", True), ("apart", False)):
                    one, two = _two_updates(line, images, rng, draws, alike=alike, soft=soft)
                    how = f"{'views' if soft else 'single images'}, {name}"
                    row[f"first %, {how}"] = round(100 * one, 1)
                    row[f"then second %, {how}"] = None if two is None else round(100 * two, 1)
            yield row


def _two_updates(
    line: Line, images: int, rng: np.random.Generator, draws: int, *, alike: bool, soft: bool
) -> tuple[float, float | None]:
    """Return how often the first update passes, and the second of those; None if none does."""
    own = line.draw(images, draws, rng)
    union = own if alike else line.draw(images, draws, rng)
    learned = line.draw(HELD_OUT, draws, rng)
    learned_union = learned if alike else line.draw(HELD_OUT, draws, rng)
    with_suites = learned if alike else line.draw(HELD_OUT, draws, rng)
    first_passes = _first_passes(own[0], union[0], soft=soft)
    if not first_passes.any():
        return 0.0, None
    second_passes = (
        _held(own[1], SUITE, soft=soft)
        & _held(own[2], SUITE_ROOT, soft=soft)
        & _held(union[1], SUITE_UNION, soft=soft)
        & _held(union[2], max(SUITE_UNION, SUITE_ROOT), soft=soft)
        & _held(learned[1], HOLDOUT, soft=soft)
        & _held(learned_union[1], HOLDOUT_UNION, soft=soft)
        & _held(with_suites[1], HOLDOUT_WITH_SUITES, soft=soft)
    )
    return float(first_passes.mean()), float(second_passes[first_passes].mean())


def _first_passes(own: SoftCounts, union: SoftCounts, *, soft: bool) -> NDArray[np.bool_]:
    if own.images < IN_USE.minimum_count:
        return np.zeros(len(own.gained), dtype=bool)
    return _held(own, SUITE, soft=soft) & _held(union, SUITE_UNION, soft=soft)


def _held(counts: SoftCounts, tolerance: float, *, soft: bool) -> NDArray[np.bool_]:
    """Return which draws hold; of some, the gate itself says so too."""
    least = IN_USE.minimum_count
    found = counts.holds(tolerance, soft=soft, least=least)
    for draw in range(SPOT_CHECKS if soft else 0):
        if counts.measure(draw, tolerance, IN_USE.views, least).holds != found[draw]:
            raise SoftDisagreement(counts, draw)
    return found


def enough(
    versions: Mapping[str, Outcomes], rng: np.random.Generator, draws: int = 2 * DRAWS
) -> Iterator[dict[str, Any]]:
    """Yield how many test images let 80 of 100 first updates pass that lose nothing, to 1 %."""
    for flips in FLIPS:
        line = Line.of(versions, flips, IN_USE.views)
        row: dict[str, Any] = {"flips %": 100 * flips}
        for name, soft, alike in (
            ("single images, alike", False, True),
            ("views, alike", True, True),
            ("views, apart", True, False),
        ):
            low, high = IN_USE.minimum_count, 20_000
            while high - low > high // 100:
                middle = (low + high) // 2
                own, _, _ = line.draw(middle, draws, rng)
                union = own if alike else line.draw(middle, draws, rng)[0]
                passes = _first_passes(own, union, soft=soft).mean() >= 0.8
                low, high = (low, middle) if passes else (middle, high)
            row[name] = high
        yield row


# One class among many: how often it alone fails a version.

CLASSES = (10, 100, 1000)

OF_EACH = (5, 10, 20, 50, 100)  # images

FRESH = 0.3  # share of answers that a harmless update draws anew

ACCURACY, SPREAD = 0.8, 0.15  # mean and standard deviation of the classes' accuracies


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
    accuracy = np.clip(rng.normal(ACCURACY, SPREAD, (classes, 1)), 0.02, 0.98)
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate_updates", description=__doc__)
    parser.add_argument(
        "--outcomes",
        type=Path,
        default=OUT / "gate-outcomes",
        help="folder of the answers of bench-gate's versions",
    )
    arguments = parser.parse_args()
    swallowed = list(swallowing(np.random.default_rng(SEED)))
    publish("gate_updates-swallowed", swallowed, draws=DRAWS, seed=SEED)
    alone = list(one_class(np.random.default_rng(SEED)))
    publish("gate_updates-classes", alone, draws=DRAWS, seed=SEED)
    versions = read_all(arguments.outcomes)
    if len(versions) < len(list(names())):
        print("Run bench-gate first: its versions are the newcomer's.")
        return
    begun = list(newcomer(versions, np.random.default_rng(SEED)))
    publish("gate_updates-newcomer", begun, draws=2 * DRAWS, seed=SEED)
    needed = list(enough(versions, np.random.default_rng(SEED)))
    publish("gate_updates-enough", needed, draws=2 * DRAWS, seed=SEED)


if __name__ == "__main__":
    main()
