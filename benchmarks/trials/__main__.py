"""Measure false alarms and delays of the sequential test of a trial: `make bench-trials`.

False alarms: two equal versions, looked at after every label. Delays: versions that differ, looked
at whenever one label in a hundred is new. Every decision is that of
`core.domain.trials.confidence_sequence`; bounds that are proven to be larger than its capital only
skip looks at which it could not decide.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.output import publish
from benchmarks.trials.looks import decisions
from benchmarks.trials.scenarios import EQUAL, FIXED_Z, Canary, Rng, Scenario, Shadow, differing
from core.domain.gate.intervals import proportion_interval

SEED = 1
RUNS = 2000
LABELS = 10_000  # of a run of equal versions
MOST_LABELS = 1_000_000  # of a run of versions that differ
AT_ONCE = 100  # runs, for memory
EFFECTS = (0.01, 0.02, 0.05, 0.1)


def main() -> int:
    """Print and write both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each pair of versions")
    parser.add_argument("--labels", type=int, default=LABELS, help="of a run of equal versions")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", help="equal versions whose label holds this, without delays")
    asked = parser.parse_args()
    began, rng = time.process_time(), np.random.default_rng(asked.seed)
    equal = [each for each in EQUAL if not asked.only or asked.only in each.label]
    alarms = [false_alarms(each, asked.runs, asked.labels, rng) for each in equal]
    publish("trials", alarms, seed=asked.seed)
    if not asked.only:
        pairs = [each for effect in EFFECTS for each in differing(effect)]
        slow = [delays(each, asked.runs, MOST_LABELS, rng) for each in pairs]
        publish("trials-delays", slow, seed=asked.seed)
    print(f"{time.process_time() - began:.0f} s of CPU")
    return 0


def false_alarms(scenario: Scenario, runs: int, labels: int, rng: Rng) -> Mapping[str, Any]:
    """Return how many runs of equal versions ever found a difference."""
    sizes = np.arange(1, labels + 1)
    alarms = naive = 0
    for first in range(0, runs, AT_ONCE):
        looks = scenario.looks(sizes, min(AT_ONCE, runs - first), rng)
        alarms += sum(found is not None for found in decisions(looks))
        naive += int((looks.scores() > FIXED_Z).any(axis=1).sum())
    interval = proportion_interval(alarms, runs, 0.025)
    return {
        "equal versions": scenario.label,
        "runs": runs,
        "labels": labels,
        "false alarms, %": 100 * alarms / runs,
        "95 % interval": f"{100 * interval.lower:.2f} to {100 * interval.upper:.2f}",
        "a fixed-size test looked at as often, %": 100 * naive / runs,
    }


def delays(scenario: Canary | Shadow, runs: int, most: int, rng: Rng) -> Mapping[str, Any]:
    """Return after how many labels versions that differ are told apart."""
    grid = np.unique(np.concatenate([np.arange(1, 101), np.geomspace(100, most, 930).astype(int)]))
    found: list[float] = []
    wrong = 0
    for first in range(0, runs, AT_ONCE):
        looks = scenario.looks(grid, min(AT_ONCE, runs - first), rng)
        for decided in decisions(looks):
            found.append(np.inf if decided is None else float(grid[decided[0]]))
            wrong += decided is not None and decided[1] * scenario.effect < 0
    low, middle, high = np.quantile(found, [0.1, 0.5, 0.9], method="inverted_cdf")
    fixed = scenario.fixed_size()
    return {
        "effect, points": 100 * scenario.effect,
        "versions": scenario.label,
        "runs": runs,
        "median labels": middle,
        "10 % to 90 %": f"{low:,.0f} to {high:,.0f}",
        "wrong way, %": 100 * wrong / runs,
        "fixed-size test, power 80 %": round(fixed),
        "median / fixed": middle / fixed,
    }


if __name__ == "__main__":
    sys.exit(main())
