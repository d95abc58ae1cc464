"""Soft hits: how often do they let a loss pass, and how many images do they save?

Suites are drawn from the answers of two real versions to images and their views. The gate itself
judges some draws too, and the run stops if it differs from the vectorised rule.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from benchmarks.calibration.rates import FIRST, tango_score
from benchmarks.calibration.sample import ROOT, Outcomes
from core.gate.changes import WORST_DEFICIT, SoftFlips, strictness
from core.gate.intervals import ALPHA, quantile
from core.gate.kinds import MeasureKind
from core.gate.measures import Measure

Numbers = NDArray[np.float64]

Z = quantile(FIRST)
DRAWS = 20_000
SPOT_CHECKS = 5
EDGE = 0.0005  # 0.05 points


@dataclass(frozen=True, kw_only=True)
class SoftCounts:
    """Counts of many drawn suites of `images` images, (draws,), as a measure has them."""

    images: int
    gained: Numbers
    lost: Numbers
    soft_gained: Numbers
    soft_lost: Numbers
    squares: Numbers  # of the changes, over each suite
    beyond: Numbers  # by which changes of images exceed those of soft hits
    beyond_squares: Numbers

    @classmethod
    def of(cls, counts: Numbers, single: Numbers, soft: Numbers) -> "SoftCounts":
        """Return the sums over suites with so many images of each kind, (draws, kinds)."""
        return cls(
            images=int(counts[0].sum()),
            gained=counts @ np.maximum(single, 0),
            lost=counts @ np.maximum(-single, 0),
            soft_gained=counts @ np.maximum(soft, 0),
            soft_lost=counts @ np.maximum(-soft, 0),
            squares=counts @ soft**2,
            beyond=counts @ (single - soft),
            beyond_squares=counts @ (single - soft) ** 2,
        )

    @property
    def soft_effect(self) -> Numbers:
        """`core.gate.intervals.soft_effect`, vectorised."""
        mean = (self.soft_gained - self.soft_lost) / self.images
        prior = Z * Z / 2
        between = self.squares - self.images * mean**2
        whole = self.soft_gained + self.soft_lost - self.images * mean**2
        effect: Numbers = (between + prior) / (whole + prior)
        return effect

    @property
    def deficit(self) -> Numbers:
        """`core.gate.intervals.deficit`, vectorised."""
        found: Numbers = -self.beyond / np.sqrt(np.maximum(self.beyond_squares, 1e-12))
        return found

    def single_score(self, tolerance: float) -> Numbers:
        """Return Tango's score of single images at the tolerance."""
        return tango_score(self.images, self.gained, self.lost, -tolerance)

    def soft_score(self, tolerance: float) -> Numbers:
        """Return Tango's score of the scaled soft flips at the tolerance."""
        effect = self.soft_effect
        counted = self.images / effect, self.soft_gained / effect, self.soft_lost / effect
        return tango_score(*counted, -tolerance)

    def t_score(self, tolerance: float, prior: float) -> Numbers:
        """Return Student's t at the tolerance, on the scale of a normal score.

        `prior` is added to the sum of squares.
        """
        mean = (self.soft_gained - self.soft_lost) / self.images
        squares = self.squares - self.images * mean**2 + prior
        deviation = np.sqrt(np.maximum(squares, 1e-12)) / self.images
        wider = stdtrit(self.images - 1, 1 - FIRST) / Z
        score: Numbers = (mean + tolerance) / deviation / wider
        return score

    def holds(self, tolerance: float, *, soft: bool = True, least: int = 1) -> NDArray[np.bool_]:
        """Return whether the measure holds, (draws,), where `least` images make it firm."""
        z = Z * strictness(self.images, least, pooled=False)
        single = self.single_score(tolerance)
        if not soft:
            return single >= z
        by_views = (self.soft_score(tolerance) >= z) & (single >= 0)
        return np.where(self.deficit <= WORST_DEFICIT, by_views, single >= z)

    def measure(self, draw: int, tolerance: float, views: int, least: int = 1) -> Measure:
        """Return the gate's own measure of a draw."""
        gained, lost = int(self.gained[draw]), int(self.lost[draw])
        still = [True] * (self.images - gained - lost)
        return Measure.of(
            MeasureKind.ZERO_SHOT,
            name="images",
            baseline="parent",
            baseline_version=1,
            tolerance=tolerance,
            images=self.images,
            now=[True] * gained + [False] * lost + still,
            before=[False] * gained + [True] * lost + still,
            alpha=ALPHA,
            level=FIRST,
            minimum_count=least,
            soft=SoftFlips(
                views=views,
                gained=float(self.soft_gained[draw]),
                lost=float(self.soft_lost[draw]),
                design_effect=float(self.soft_effect[draw]),
                deficit=float(self.deficit[draw]),
            ),
        )


@dataclass(frozen=True, kw_only=True)
class SoftPool:
    """Images by kind: the change of the answer, and that of the soft hit."""

    single: Numbers  # (kinds,)
    soft: Numbers  # (kinds,)
    shares: Numbers  # (kinds,)
    views: int

    @classmethod
    def of(
        cls,
        before: Outcomes,
        now: Outcomes,
        question: str,
        *,
        views: int,
        exchanged: bool = False,
        weight: float = 0.5,
    ) -> "SoftPool":
        """Compare two versions on a pool; `weight` is that of the image itself in a soft hit.

        If `exchanged`, any view may stand for the image itself, so that the true differences of
        single and soft hits are equal.
        """
        old, new = (one.soft[question][:, : views + 1].astype(int) for one in (before, now))
        change = new - old  # (images, 1 + views)
        total = np.repeat(change.sum(axis=1), views + 1 if exchanged else 1)
        single = change.ravel() if exchanged else change[:, 0]
        soft = weight * single + (1 - weight) * (total - single) / views
        kinds, number = np.unique(np.column_stack([single, soft]), axis=0, return_counts=True)
        shares = number / number.sum()
        return cls(single=kinds[:, 0], soft=kinds[:, 1], shares=shares, views=views)

    @property
    def flips(self) -> float:
        """The share of images whose own answer changes between right and wrong."""
        return float(self.shares @ np.abs(self.single))

    @property
    def loss(self) -> float:
        """The loss of accuracy on single images."""
        return -float(self.shares @ self.single)

    @property
    def ratio(self) -> float:
        """The variance of the changes of soft hits, divided by that of single ones."""
        return self._variance(self.soft) / self._variance(self.single)

    def _variance(self, changes: Numbers) -> float:
        return float(self.shares @ changes**2 - (self.shares @ changes) ** 2)

    def harmless(self, flips: float) -> "SoftPool":
        """Return the pool with each change as often the other way, and this share of flips.

        Images whose answer or any view's changes are weighted alike.
        """
        moves = (self.single != 0) | (self.soft != 0)
        weight = flips / self.flips
        still = (1 - weight * self.shares[moves].sum()) / self.shares[~moves].sum()
        shares = self.shares * np.where(moves, weight, still)
        return SoftPool(
            single=np.concatenate([self.single, -self.single]),
            soft=np.concatenate([self.soft, -self.soft]),
            shares=np.concatenate([shares, shares]) / 2,
            views=self.views,
        )

    def draw(self, images: int, draws: int, rng: np.random.Generator) -> SoftCounts:
        """Draw suites of `images` images."""
        counts = rng.multinomial(images, self.shares, size=draws).astype(float)
        return SoftCounts.of(counts, self.single, self.soft)


class SoftDisagreement(Exception):
    """The vectorised rule and the gate differ, so the study would not describe the gate."""


def passing(pool: SoftPool, drawn: SoftCounts, tolerance: float, least: int = 1) -> float:
    """Return the share of draws that hold; the gate itself judges some too."""
    found = drawn.holds(tolerance, least=least)
    for draw in range(SPOT_CHECKS):
        if drawn.measure(draw, tolerance, pool.views, least).holds != found[draw]:
            raise SoftDisagreement(pool, draw)
    return float(found.mean())


# Error of the bound, against the true change of soft hits.

SIZES = (100, 400, 1000, 4000)

EXTREMES: Mapping[str, Sequence[tuple[float, float]]] = {  # change and share of images, others none
    "losses of whole images": [(-1, 0.03)],
    "losses of one view of eight": [(-1 / 16, 0.48)],
    "losses, half of whole images, half of one view": [(-1, 0.015), (-1 / 16, 0.24)],
    "losses of whole images, gains of one view": [(-1, 0.055), (1 / 16, 0.4)],
    "whole images rarely, one view often, both ways": [(-1, 0.01), (-1 / 8, 0.26), (1 / 8, 0.1)],
}


def bounds(versions: Mapping[str, Outcomes], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Yield how often the bound by some intervals is above the true change of soft hits."""
    cases: dict[str, list[SoftPool]] = {}
    for name, changes in EXTREMES.items():
        values, shares = np.array([*changes, (0.0, 1 - sum(share for _, share in changes))]).T
        cases[name] = [SoftPool(single=np.fix(values), soft=values, shares=shares, views=8)]
    if found := list(pairs(versions, views=2)):
        cases["real versions, mean of all pairs"] = found
    for name, group in cases.items():
        for images in SIZES:
            rates: dict[str, list[float]] = {}
            for pool in group:
                drawn, loss = pool.draw(images, DRAWS, rng), -float(pool.shares @ pool.soft)
                for interval, score in (
                    ("Tango, scaled", drawn.soft_score(loss)),
                    ("Student's t", drawn.t_score(loss, 0.0)),
                    ("Student's t with z²/2", drawn.t_score(loss, Z * Z / 2)),
                ):
                    rates.setdefault(f"{interval} %", []).append((score >= Z).mean())
            yield {"changes": name, "images": images, **means(rates)}


def means(rates: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return means in percent."""
    return {name: round(100 * float(np.mean(found)), 2) for name, found in rates.items()}


def pairs(versions: Mapping[str, Outcomes], **how: Any) -> Iterator[SoftPool]:
    """Yield the pairs of the untouched version and each that is a point worse, on each pool."""
    for question in versions[ROOT].soft:
        for now in versions.values():
            pool = SoftPool.of(versions[ROOT], now, question, **how)
            if pool.loss > 0.01:
                yield pool


# What soft hits risk and gain, by the number of views and the weight of the image itself.

HOW: Mapping[str, Mapping[str, Any]] = {
    "2 views": {"views": 2},
    "4 views": {"views": 4},
    "8 views": {"views": 8},
    "8 views, all alike": {"views": 8, "weight": 1 / 9},
}

IMAGES = (400, 500, 1000, 2000)


def wrong_passes(
    versions: Mapping[str, Outcomes], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Yield how often real losses pass that are 0.05 points beyond the tolerance on single images.

    As the images are: in a pool of some thousands, single and soft losses differ, also by chance.
    With views exchanged: they do not.
    """
    for exchanged in (False, True):
        for images in IMAGES:
            rates: dict[str, list[float]] = {}
            for name, how in HOW.items():
                for pool in pairs(versions, exchanged=exchanged, **how):
                    drawn, at = pool.draw(images, DRAWS, rng), pool.loss - EDGE
                    if name == "2 views":
                        single = drawn.holds(at, soft=False).mean()
                        rates.setdefault("single images", []).append(single)
                    rates.setdefault(name, []).append(passing(pool, drawn, at))
            worst = {f"{name}, worst": 100 * max(found) for name, found in rates.items()}
            row = {"views exchanged": exchanged, "images": images, **means(rates)}
            yield row | {name: round(rate, 2) for name, rate in worst.items()}


FLIPS = (0.05, 0.1, 0.18)


def harmless(versions: Mapping[str, Outcomes], flips: float, **how: Any) -> SoftPool:
    """Return a pool with this share of flips and no loss.

    It is made of the two versions, neither the untouched one, with the nearest share of flips of
    those that differ by at most two points on a pool.
    """
    names = [name for name in versions if name != ROOT]
    found = [
        SoftPool.of(versions[one], versions[other], question, **how)
        for question in versions[ROOT].soft
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    ]
    close = [pool for pool in found if abs(pool.loss) <= 0.02]
    return min(close, key=lambda pool: abs(pool.flips - flips)).harmless(flips)


def power(versions: Mapping[str, Outcomes], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Yield how often an update that loses nothing holds 3 points."""
    for flips in FLIPS:
        for images in IMAGES:
            row: dict[str, Any] = {"flips %": 100 * flips, "images": images}
            for name, how in HOW.items():
                pool = harmless(versions, flips, **how)
                drawn = pool.draw(images, DRAWS, rng)
                if "single images" not in row:
                    rate = drawn.holds(0.03, soft=False).mean()
                    row["single images"] = round(100 * float(rate), 1)
                row[name] = round(100 * passing(pool, drawn, 0.03), 1)
                row[f"{name}, variance"] = round(pool.ratio, 2)
            yield row
