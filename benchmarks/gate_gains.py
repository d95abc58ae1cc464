"""Measure how often what some classes of a suite show hides a loss on the others.

`make bench-gate-gains`: a quarter of the classes gain and all others lose, on one suite and by the
default policy, single images. How often does it hold by all images together; by the classes that
did not gain, too, as where the held-out images of updates show which gained; and by the images of
whose class the other images show no gain, as where none were held out?

The second table has suites of which most images show one class. All others lose, but those of three
images, and chance flips answers: how often does the suite hold by all images, and by the mean of
its classes, too?

In the third most classes gain a little and others lose much, or each changes by chance: how often
does the suite hold by all images, by both rules above, by the images of whose class the other
images show a loss, too, and by those of whose class they show one beyond the limit for a single
class? `docs/studies/gate.md` discusses the tables.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.rates import IN_USE
from benchmarks.output import publish
from core.evaluation.other_classes import ungained, without_gain
from core.evaluation.paired_hits import PairedHits
from core.gate.changes import ClassMean, Losing, Untaught, surely
from core.gate.intervals import Flips
from core.gate.kinds import PARENT, ClassList, MeasureKind
from core.gate.measures import Measure
from core.values import Digest

DRAWS, SEED = 400, 1
SUITES = ((400, 5), (400, 40), (400, 100), (1000, 40), (1000, 100), (2000, 100))
FLIPS = (0.02, 0.1)
CHANGES = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.03), (0.5, 0.06), (0.5, 0.1), (0.2, 0.06))
SURELY = surely(pooled=False)
TOLERANCE = IN_USE.tolerances(MeasureKind.ZERO_SHOT, ClassList.OWN)[PARENT]


def draw(
    images: int, classes: int, flips: float, change: tuple[float, float], rng: np.random.Generator
) -> tuple[PairedHits, int]:
    """Return hits by which a quarter of the classes, the first ones, gain and the others lose."""
    gain, loss = change
    improved = classes // 4 if gain else 0
    shown = np.arange(images) % classes
    changed = np.where(shown < improved, gain, -loss)
    return changing(shown, flips, changed, rng), improved


def changing(
    shown: NDArray[np.int_], flips: float, changed: NDArray[Any], rng: np.random.Generator
) -> PairedHits:
    """Return hits on images of these classes, each of which changes so much in the mean."""
    drawn = rng.random(len(shown))
    up, down = flips / 2 + np.maximum(changed, 0), flips / 2 + np.maximum(-changed, 0)
    gained, lost = drawn < up, (drawn >= up) & (drawn < up + down)
    return PairedHits(
        now=(~lost).tolist(),
        before=(~gained).tolist(),
        groups=[Digest(f"{one:064x}") for one in range(len(shown))],
        truths=[f"{one}" for one in shown],
    )


def measure(hits: PairedHits) -> Measure:
    """Return the measure of a suite's hits, by all images together."""
    return Measure.of(
        MeasureKind.ZERO_SHOT,
        name="suite",
        baseline=PARENT,
        baseline_version=1,
        tolerance=TOLERANCE,
        images=len(hits.now),
        now=hits.now,
        before=hits.before,
        alpha=IN_USE.alpha,
        minimum_count=IN_USE.minimum_count,
    )


def rates() -> Iterator[dict[str, Any]]:
    """Yield how many versions in 100 hold, by size, flips and what they gain and lose."""
    for (images, classes), flips, change in product(SUITES, FLIPS, CHANGES):
        rng = np.random.default_rng(SEED)
        held = np.zeros(3, dtype=int)
        for _ in range(DRAWS):
            hits, improved = draw(images, classes, flips, change, rng)
            whole = measure(hits)
            kept = [int(name) >= improved for name in hits.truths]
            told = Untaught(**vars(hits.only(kept).changes(IN_USE.alpha)), classes=classes)
            left = without_gain(hits, {})
            each = (
                whole,
                replace(whole, untaught=told),
                replace(whole, ungained=ungained(left, {}, IN_USE.alpha) if left else None),
            )
            held += [one.bounded(IN_USE.alpha, IN_USE.minimum_count).holds for one in each]
        by_all, by_held_out, by_others = (100 * held / DRAWS).round(1).tolist()
        yield {
            "images": images,
            "classes": classes,
            "flips %": 100 * flips,
            "a quarter gains": 100 * change[0],
            "the others lose": 100 * change[1],
            "hold by all": by_all,
            "by held-out images too": by_held_out,
            "by other images too": by_others,
        }


# Images, classes, and the changes of the classes in points: some gain and others lose, or each
# changes at random, with this deviation and a mean of 0.
THIN: tuple[tuple[int, int, str, Sequence[float]], ...] = (
    (1000, 40, "none", (0,)),
    (1000, 40, "+4, +4, +4, −10", (4, 4, 4, -10)),
    (1000, 40, "+5, +5, +5, −15", (5, 5, 5, -15)),
    (4000, 100, "none", (0,)),
    (4000, 100, "+3, +3, +3, −9", (3, 3, 3, -9)),
    (4000, 100, "+5, +5, +5, −12", (5, 5, 5, -12)),
    (4000, 100, "+5, +5, +5, −20", (5, 5, 5, -20)),
    (4000, 100, "19 times none, −20", (*(0,) * 19, -20)),
    (4000, 400, "+5, +5, +5, −15", (5, 5, 5, -15)),
    (4000, 400, "+5, +5, +5, −20", (5, 5, 5, -20)),
    (4000, 100, "97 times none, three times −50", (*(0,) * 97, *(-50,) * 3)),
    (4000, 100, "+2 but for four of −50", (*(2,) * 96, *(-50,) * 4)),
    (4000, 400, "392 times none, eight times −80", (*(0,) * 392, *(-80,) * 8)),
    (1000, 40, "by chance, 3", ()),
    (1000, 40, "by chance, 5", ()),
    (4000, 100, "by chance, 3", ()),
    (4000, 100, "by chance, 5", ()),
)
THIN_DRAWS = 200


def by_thin_gains() -> Iterator[dict[str, Any]]:
    """Yield how many versions in 100 hold where many classes gain little, and others lose much."""
    for (images, classes, words, given), flips in product(THIN, FLIPS):
        rng = np.random.default_rng(SEED)
        shown = np.arange(images) % classes
        held = np.zeros(4, dtype=int)
        for _ in range(THIN_DRAWS):
            changes = np.resize(given, classes) if given else rng.normal(size=classes)
            if not given:
                changes = (changes - changes.mean()) * float(words.split()[-1])
            hits = changing(shown, flips, changes[shown] / 100, rng)
            held += [one.bounded(IN_USE.alpha, IN_USE.minimum_count).holds for one in asked(hits)]
        by_all, by_rules, by_losers, by_few = (100 * held / THIN_DRAWS).round(1).tolist()
        yield {
            "images": images,
            "classes": classes,
            "flips %": 100 * flips,
            "classes change by": words,
            "hold by all": by_all,
            "without visible gains and in the mean": by_rules,
            "by those that lose too": by_losers,
            "by those that lose much too": by_few,
        }


def asked(hits: PairedHits) -> tuple[Measure, ...]:
    """Return a suite's measure by all images, and with one rule more each."""
    whole, left = measure(hits), without_gain(hits, {})
    means = [ClassMean.of(by_class(one), SURELY) for one in (hits, left) if one]
    judged = replace(
        whole,
        ungained=ungained(left, {}, IN_USE.alpha) if left else None,
        class_mean=min(means, key=lambda one: one.at_most),
    )
    changed = [now - before for now, before in zip(hits.now, hits.before, strict=True)]
    changes = [*zip(hits.truths, changed, strict=True)]
    losing = (
        Losing.worst(changes, SURELY, limit=limit) for limit in (None, IN_USE.class_tolerance)
    )
    return whole, judged, *(replace(judged, losing=one) for one in losing)


def by_class(hits: PairedHits) -> list[Flips]:
    """Return the flips of each class."""
    found: dict[str, list[int]] = {}
    for name, now, before in zip(hits.truths, hits.now, hits.before, strict=True):
        found.setdefault(name, []).append(now - before)
    return [
        Flips(count=len(one), gained=one.count(1), lost=one.count(-1)) for one in found.values()
    ]


SHAPES = {
    "1,000 images, 5 % of them of one rare class": (950, 50),
    "3,900 images, 5 % of them of four": (3700, 50, 50, 50, 50),
    "6,200 images, 6 % of them of four, and 16 classes of 3": (
        5750,
        100,
        100,
        100,
        100,
        *(3,) * 16,
    ),
    "400 images, 10 of them of two": (390, 5, 5),
    "400 images of 100 classes alike": (4,) * 100,
}
RARE_DRAWS = 1000


def in_the_mean() -> Iterator[dict[str, Any]]:
    """Yield how many versions in 100 hold by all images, and by the mean of the classes, too."""
    for (name, sizes), flips, loss in product(
        SHAPES.items(), (0.02, 0.1, 0.18), (0.0, 0.2, 0.3, 0.4)
    ):
        rng = np.random.default_rng(SEED)
        worse = np.where(np.array(sizes) > 3, loss, 0.0)
        worse[0] = 0.0
        shares = np.stack([np.full(len(sizes), flips / 2), flips / 2 + worse], axis=1)
        rest = 1 - shares.sum(axis=1, keepdims=True)
        drawn = rng.multinomial(sizes, np.hstack([shares, rest]), size=(RARE_DRAWS, len(sizes)))
        held = np.zeros(2, dtype=int)
        for each in drawn:
            changes = [
                Flips(count=size, gained=int(up), lost=int(down))
                for size, (up, down, _) in zip(sizes, each, strict=True)
            ]
            held += holds(changes)
        by_all, by_mean = (100 * held / RARE_DRAWS).round(1).tolist()
        yield {
            "suite": name,
            "flips %": 100 * flips,
            "all but the first lose": 100 * loss,
            "hold by all": by_all,
            "by the mean of classes too": by_mean,
        }


def holds(changes: list[Flips]) -> NDArray[np.int_]:
    """Return 1 where a suite holds: by all images, and with the mean of its classes."""
    gained, lost = sum(int(one.gained) for one in changes), sum(int(one.lost) for one in changes)
    same = int(sum(one.count for one in changes)) - gained - lost
    hits = PairedHits(
        now=[True] * gained + [False] * lost + [True] * same,
        before=[False] * gained + [True] * lost + [True] * same,
        groups=[Digest(f"{one:064x}") for one in range(gained + lost + same)],
    )
    whole = measure(hits)
    told = replace(whole, class_mean=ClassMean.of(changes, SURELY))
    return np.array([whole.holds, told.bounded(IN_USE.alpha, IN_USE.minimum_count).holds], int)


if __name__ == "__main__":
    publish("gate_gains", list(rates()), draws=DRAWS, seed=SEED)
    publish("gate_gains-mean", list(in_the_mean()), draws=RARE_DRAWS, seed=SEED)
    publish("gate_gains-thin", list(by_thin_gains()), draws=THIN_DRAWS, seed=SEED)
