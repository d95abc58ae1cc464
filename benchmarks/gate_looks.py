"""Measure how often looks at growing test images pass a wrong version: `make bench-gate-looks`.

The first table has the chance that any of five looks passes a measure whose loss is at the
tolerance: against whoever chooses the size of each look in the worst way, and where each look has
so many times the images of the one before. The second simulates versions with the gate's own
rules. In the third, images were added on which nothing was lost. `docs/studies/gate.md` discusses
them.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.output import publish
from core.gate.changes import Changes, Edition
from core.gate.fields import defaults_of
from core.gate.intervals import Flips, quantile, score
from core.gate.levels import LOOK_SHARES
from core.gate.rules import GatePolicy
from core.gate.sample_size import times_to_hold

ALPHA, TOLERANCE, SEED = 0.005, 0.03, 1

MINIMUM: int = defaults_of(GatePolicy)["minimum_count"]

EQUAL, WHOLE = (0.3,) * 5, (1.0,) * 5  # 0.3 of 0.5 % is 2.97 standard deviations

Array = NDArray[np.float64]


def worst_error(levels: Sequence[float], step: float = 0.02) -> float:
    """Return the chance that any look passes, if each size is chosen in the worst way.

    The difference is at the tolerance, so the standardised difference of a look, z, is normal. The
    next one, of images of which a share r is old, is sqrt(r) z plus noise of variance 1 - r. From
    the last look backwards, the r that makes a pass most likely is chosen for each z.
    """
    bounds = [quantile(level) for level in levels]
    later_z, later = np.array([0.0]), np.array([0.0])  # the chance of a pass after a look, by its z
    for bound, before in zip(bounds[:0:-1], bounds[-2::-1], strict=True):
        z = np.arange(-5.0, before, step)
        after = np.arange(-8.0, bound, step) + step / 2
        value = np.interp(after, later_z, later) * step
        best = np.zeros_like(z)
        for root in np.linspace(0.0, 0.99, 60):
            deviation = np.sqrt(1 - root * root)
            ahead = (after[None, :] - root * z[:, None]) / deviation
            chance = _above((bound - root * z) / deviation) + _density(ahead) / deviation @ value
            best = np.maximum(best, chance)
        later_z, later = z, best
    first = np.arange(-8.0, bounds[0], step) + step / 2
    return float(levels[0] + _density(first) @ np.interp(first, later_z, later) * step)


def _density(z: Array) -> Array:
    found: Array = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return found


def _above(z: Array) -> Array:
    """Return the chance that a normal value is above z (Abramowitz and Stegun 26.2.17)."""
    t = 1 / (1 + 0.2316419 * np.abs(z))
    powers = (0.319381530, -0.356563782, 1.781477937, -1.821255978, 1.330274429)
    tail = _density(z) * sum(b * t ** (n + 1) for n, b in enumerate(powers))
    return np.where(z > 0, tail, 1 - tail)


def planned_error(shares: Sequence[float], times: float, draws: int) -> float:
    """Return the share of draws that pass, if each look has so many times the images."""
    noise = np.random.default_rng(SEED)
    total, images, passed = np.zeros(draws), 0.0, np.zeros(draws, bool)
    for look, share in enumerate(shares):
        now = times**look if times > 1 else look + 1.0
        total += np.sqrt(now - images) * noise.standard_normal(draws)
        images = now
        passed |= total / np.sqrt(images) >= quantile(ALPHA * share)
    return float(passed.mean())


Grow = Callable[[Flips, float], float]  # from a look and the next level, times the images


def by_advice(flips: Flips, level: float) -> float:
    """Grow as the report advises, at least by a tenth; give up where no number would do."""
    times = times_to_hold(flips, -TOLERANCE, level)
    return max(1.1, times) if times <= 10 else inf


def doubled(_flips: Flips, _level: float) -> float:
    """Double the images."""
    return 2.0


def simulated(
    grow: Grow, *, images: int, minimum: int, churn: float, loss: float, draws: int
) -> tuple[float, float, float]:
    """Return the share that passes at the first look that counts, and at any; and mean images."""
    rng = np.random.default_rng(SEED)
    first = passed = used = 0
    chances = [(churn - loss) / 2, (churn + loss) / 2, 1 - churn]
    for _ in range(draws):
        count, look = images, 0
        parts = [drawn(rng, count, chances)]
        while True:
            flips, counts = together(parts).flips, count >= minimum
            if counts and holds(parts, look, minimum):
                first, passed = first + (look == 0), passed + 1
                break
            look += counts
            times = inf if look == len(LOOK_SHARES) else grow(flips, ALPHA * LOOK_SHARES[look])
            if times * count > 50_000:
                break
            parts.append(drawn(rng, int(count * (times - 1)), chances))
            count += parts[-1].count
        used += count
    return first / draws, passed / draws, used / draws


def drawn(rng: np.random.Generator, images: int, chances: Sequence[float]) -> Changes:
    """Draw images; `chances` are that one is gained, that it is lost, and that it stays."""
    gained, lost, _ = rng.multinomial(images, chances)
    return Changes(
        distinct=images, count=images, gained=int(gained), lost=int(lost), design_effect=1.0
    )


def together(parts: Sequence[Changes]) -> Changes:
    """Return all changes as one."""
    count = sum(part.count for part in parts)
    gained, lost = sum(part.gained for part in parts), sum(part.lost for part in parts)
    return Changes(distinct=count, count=count, gained=gained, lost=lost, design_effect=1.0)


def holds(parts: Sequence[Changes], look: int, minimum: int) -> bool:
    """Return whether a measure holds; `parts` are what each edition added, the first at first."""
    z = quantile(ALPHA * LOOK_SHARES[look])
    return score(together(parts).flips, -TOLERANCE) >= z and all(
        Edition(number=n, earlier=together(parts[:n]), added=together(parts[n:])).holds(
            TOLERANCE, minimum
        )
        for n in range(1, len(parts))
    )


def errors(draws: int) -> Iterator[dict[str, Any]]:
    """Yield the errors of three ways to share 0.5 % among five looks, in percent."""
    for name, shares in (("none shared", WHOLE), ("equal", EQUAL), ("the gate's", LOOK_SHARES)):
        row: dict[str, Any] = {"shares": name}
        row["bounds"] = ", ".join(f"{quantile(ALPHA * share):.2f}" for share in shares)
        for times in (1.0, 2.0, 10.0):
            named = "equal steps" if times == 1 else f"{times:.0f} times"
            row[named] = 100 * planned_error(shares, times, draws)
        row["worst sizes"] = 100 * worst_error([ALPHA * share for share in shares])
        yield row


def versions(draws: int) -> Iterator[dict[str, Any]]:
    """Yield how often versions pass, in percent, and the images that they take in the mean."""
    for images, minimum in ((1000, MINIMUM), (300, MINIMUM)):
        for name, grow in (("doubled", doubled), ("by advice", by_advice)):
            for churn in (0.05, 0.1, 0.18):
                for loss in (TOLERANCE + 0.0005, 0.0):
                    first, passed, used = simulated(
                        grow,
                        images=images,
                        minimum=minimum,
                        churn=churn,
                        loss=loss,
                        draws=draws if loss else draws // 10,
                    )
                    yield {
                        "images at first": images,
                        "grown": name,
                        "flips %": 100 * churn,
                        "lost": 100 * loss,
                        "first look passes %": 100 * first,
                        "any passes %": 100 * passed,
                        "images in the mean": round(used),
                    }


def diluted(draws: int) -> Iterator[dict[str, Any]]:
    """Yield how often what the first look leaves open holds by added images, in percent.

    On those at first, 9 % of answers flip. On the added ones none does, or as many without loss;
    or they are a larger sample of the same thing.
    """
    for images in (400, 2000):
        for loss in (0.0, 0.01, 0.03, 0.04, 0.05):
            changing = [(0.09 - loss) / 2, (0.09 + loss) / 2, 0.91]
            for times in (2, 3):
                row: dict[str, Any] = {
                    "images": images,
                    "lost": 100 * loss,
                    "added": times * images,
                }
                for name, added in (
                    ("none flips", [0.0, 0.0, 1.0]),
                    ("none lost", [0.045, 0.045, 0.91]),
                    ("the same", changing),
                ):
                    rng, before, now = np.random.default_rng(SEED), 0, 0
                    for _ in range(draws):
                        first = drawn(rng, images, changing)
                        parts = [first, drawn(rng, times * images, added)]
                        if not holds([first], 0, MINIMUM) and holds([together(parts)], 1, MINIMUM):
                            before += 1
                            now += holds(parts, 1, MINIMUM)
                    row[f"{name}, before %"] = 100 * before / draws
                    row[f"{name}, now %"] = 100 * now / draws
                yield row


def main() -> None:
    """Compute and simulate, and print and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate_looks", description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000)
    given = parser.parse_args()
    facts = {"draws": given.draws, "seed": SEED, "alpha": ALPHA, "tolerance": TOLERANCE}
    publish("gate_looks", list(errors(25 * given.draws)), **facts)
    publish("gate_looks-versions", list(versions(given.draws)), **facts)
    publish("gate_looks-diluted", list(diluted(given.draws)), **facts)


if __name__ == "__main__":
    main()
