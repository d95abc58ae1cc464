"""Measure verdicts by labels of disagreements alone: `make bench-gate-unlabelled`.

The first table has the chances of a wrong verdict where the loss is just at the tolerance: exact
sums over the number of disagreements and the labels. The second says how many labels let a version
pass, or fail it, with a chance of 80 %. `docs/studies/gate.md` discusses them.
"""

import argparse
from collections.abc import Iterator
from math import ceil, lgamma, log

import numpy as np
from numpy.typing import NDArray

from benchmarks.output import publish
from core.gate.intervals import Flips, p_below, quantile, score
from core.gate.levels import LOOK_SHARES, label_counts, label_share
from core.trials.bets import Pairs, log_capital, mirrored

ALPHA, TOLERANCE, MINIMUM = 0.005, 0.03, 350
FIRST_LOOK = ALPHA * LOOK_SHARES[0]
IMAGES, LABELS = (200, 500, 1000, 2000, 4000), (20, 50, 100, 200)
SHARES, ALONE = (0.05, 0.12, 0.3), (1.0, 0.8, 0.5)
POWER = 0.8

Array = NDArray[np.float64]


def main() -> None:
    """Compute, and print and write the tables."""
    prog = "python -m benchmarks.gate_unlabelled"
    argparse.ArgumentParser(prog=prog, description=__doc__).parse_args()
    facts = {"alpha": ALPHA, "tolerance": TOLERANCE, "power": POWER}
    publish("gate_unlabelled", list(errors()), **facts)
    publish("gate_unlabelled-labels", list(labels()), **facts)


def errors() -> Iterator[dict[str, float]]:
    """Yield how often a loss at the tolerance passes and fails, in percent.

    The worst of several shares of disagreements about which one version alone is right.
    """
    for images in IMAGES:
        for share in SHARES:
            for count in LABELS:
                found = [
                    chances(images, share, count, alone, -TOLERANCE)
                    for alone in ALONE
                    if alone * share > TOLERANCE
                ]
                passes, fails = (100 * max(column) for column in zip(*found, strict=True))
                row = {"images": images, "share": share, "labels": count}
                yield row | {"passes": round(passes, 2), "fails": round(fails, 2)}


def chances(
    images: int,
    share: float,
    count: int,
    alone: float,
    difference: float,
    level: float = FIRST_LOOK,
) -> tuple[float, float]:
    """Return the chances that a version passes and fails with so many labels, or with all.

    The versions disagree about a `share` of the images, and about a part `alone` of these one of
    them is right. The bounds are at a `level`, the first look's, and of Holm's last step.
    """
    mean = difference / share
    rates = (alone + mean) / 2, (alone - mean) / 2, 1 - alone
    passes = fails = 0.0
    for total, weight in _binomial(images, share):
        labelled = min(count, total)
        answers = images * labelled / total
        flips, chance = _trinomial(labelled, rates)
        for (gained, lost), p in zip(flips, chance, strict=True):
            seen = Flips(count=answers, gained=gained, lost=lost)
            reached = score(seen, -TOLERANCE)
            if reached >= quantile(level):
                passes += weight * p
            elif reached < -2 and p_below(seen, -TOLERANCE) < ALPHA:
                fails += weight * p
    return passes, fails


def _binomial(images: int, share: float) -> Iterator[tuple[int, float]]:
    """Yield some numbers of disagreements that stand for all of them, with their weights."""
    spread = (images * share * (1 - share)) ** 0.5
    places, weights = np.polynomial.hermite_e.hermegauss(9)
    for place, weight in zip(places, weights / weights.sum(), strict=True):
        yield max(1, round(images * share + place * spread)), float(weight)


def _trinomial(count: int, rates: tuple[float, ...]) -> tuple[list[tuple[int, int]], list[float]]:
    """Return how many labels gain and lose, with the chances that are not negligible."""
    logs = [log(rate) if rate > 0 else -1e9 for rate in rates]
    flips, chance = [], []
    for gained in range(count + 1):
        for lost in range(count + 1 - gained):
            parts = (gained, lost, count - gained - lost)
            p = lgamma(count + 1) + sum(
                n * each - lgamma(n + 1) for n, each in zip(parts, logs, strict=True) if n
            )
            if p > log(1e-9):
                flips.append((gained, lost))
                chance.append(float(np.exp(p)))
    return flips, chance


def labels() -> Iterator[dict[str, object]]:
    """Yield how many labels a verdict takes where one version alone is right on 12 %."""
    share = 0.12
    for images in (500, 1600, 4000):
        for difference in (0.0, -0.01, -0.05, -0.07):
            column = 0 if difference > -TOLERANCE else 1
            most = round(images * share)
            least = ceil(min(MINIMUM, images) * share)
            counts = label_counts(most, least)
            found = {
                count: chances(
                    images, share, count, 1.0, difference, FIRST_LOOK * label_share(counts, count)
                )[column]
                for count in counts
            }
            yield {
                "images": images,
                "difference": difference,
                "verdict": ("passes", "fails")[column],
                "labels": next((n for n, chance in found.items() if chance >= POWER), None),
                "disagreements": most,
                "chance_with_half": round(found.get((most + 1) // 2, 0.0), 3),
                "chance_with_all": round(found[most], 3),
                "labels_by_bets": _by_bets(share, difference, most),
            }


def _by_bets(share: float, difference: float, most: int) -> int | None:
    """Return how many labels a trial's estimator takes at the same level, for the usual draw.

    Its interval holds at any time, so it takes more labels; see `core/trials/bets.py`.
    """
    limit = log(1 / (0.9 * FIRST_LOOK))
    for count in range(10, 20 * most, 5):
        gained = round(count * (1 + difference / share) / 2)
        signs = Pairs(labelled=count, gained=gained, lost=count - gained).signs
        bound = TOLERANCE / (2 * share)  # of a mean in [0, 1], which is at 1/2 without a difference
        passes = log_capital(signs, 0.5 - bound) >= limit
        fails = log_capital(mirrored(signs), 0.5 + bound) >= limit
        if passes or fails:
            return count
    return None


if __name__ == "__main__":
    main()
