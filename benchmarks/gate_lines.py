"""Measure how often a whole line promotes a wrong version: `make bench-gate-lines`.

2,000 lines of 300 updates are simulated, harmless and adversarial ones, each judged by one suite of
500 or 2,000 images, with and without a line's error budget. A second table has the images that a
harmless update needs as the budget is spent. A third compares budgets on lines whose versions keep
most of their parent's answers, on 500 to 4,000 images. `docs/studies/gate.md` discusses them.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.calibration.inheritance import inheritance_table
from benchmarks.calibration.intervals import CHURN, Integers, Numbers, Scenario, simulate
from benchmarks.calibration.rates import POLICY, images_needed
from benchmarks.output import publish

LINES, UPDATES, SEED = 2000, 300, 1

SIZES = (500, 2000)

VERDICTS = (1, 10, 50, 100, 300)

WITHOUT = POLICY

WITH = replace(POLICY, line_error=0.05)

EDGE = 0.0005  # beyond a tolerance

STEP = 0.0025


def always(loss: float) -> Callable[[Integers], Numbers]:
    """Return the same true loss for every update."""

    def of(promotions: Integers) -> Numbers:
        losses: Numbers = np.full(len(promotions), loss)
        return losses

    return of


def creeping(promotions: Integers) -> Numbers:
    """Return the loss against the root: a small step more than the parent's, up to the edge."""
    losses: Numbers = np.minimum((promotions + 1) * STEP, WITH.root_tolerance + EDGE)
    return losses


BEYOND = Scenario(
    name="retries at the edge",
    from_parent=None,
    from_root=always(WITH.parent_tolerance + EDGE),
)

SCENARIOS = (
    Scenario(name="loses nothing", from_parent=always(0.0), from_root=always(0.0)),
    Scenario(name="loses 0.5, 1 since the root", from_parent=always(0.005), from_root=always(0.01)),
    Scenario(name="creeps to the edge", from_parent=always(STEP), from_root=creeping),
    BEYOND,
    replace(BEYOND, name="retries, half alike", redrawn=0.5),
    replace(BEYOND, name="selects by the reports", redrawn=0.1, climbs=True),
)


def rows(lines: int, updates: int) -> Iterator[dict[str, Any]]:
    """Yield what became of the lines.

    "wrong lines" have promoted a wrong version; "50. passed" is for the 50th update of all lines.
    """
    for scenario in SCENARIOS:
        for images in SIZES:
            for name, policy in (("no", WITHOUT), ("yes", WITH)):
                course = simulate(
                    scenario,
                    policy,
                    images=images,
                    lines=lines,
                    updates=updates,
                    rng=np.random.default_rng(SEED),
                )
                seen = [verdict for verdict in VERDICTS if verdict <= updates]
                yield {
                    "candidates": scenario.name,
                    "images": images,
                    "budget": name,
                    "wrong lines %": 100 * course.wrong.any(axis=0).mean(),
                    **{f"{v}. passed %": 100 * course.passed[v - 1].mean() for v in seen},
                }


def prices() -> Iterator[dict[str, Any]]:
    """Yield the level of a verdict, and the images with which a harmless update holds.

    Columns are the share of answers that flip, and the power.
    """
    for verdict in (0, *VERDICTS, 1000):
        level = (WITH.level(verdict) if verdict else None) or WITHOUT.alpha
        row: dict[str, Any] = {"verdict": verdict or "any, no budget", "level %": 100 * level}
        for churn in (0.02, 0.05, 0.1):
            for power in (0.8, 0.9):
                row[f"flips {churn:.0%}, {power:.0%}"] = images_needed(
                    power,
                    churn=churn,
                    difference=0.0,
                    tolerance=WITH.parent_tolerance,
                    level=level,
                )
        yield row


def main() -> None:
    """Simulate, and print and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate_lines", description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--updates", type=int, default=UPDATES)
    given = parser.parse_args()
    facts = {
        "lines": given.lines,
        "updates": given.updates,
        "seed": SEED,
        "churn": CHURN,
        "line_error": WITH.line_error,
        "line_updates": WITH.line_updates,
    }
    publish("gate_lines", list(rows(given.lines, given.updates)), **facts)
    publish("gate_lines-images", list(prices()), **facts)
    inherited = inheritance_table(WITH, lines=given.lines // 2, updates=given.updates, seed=SEED)
    publish("gate_lines-inheritance", list(inherited), **facts)


if __name__ == "__main__":
    main()
