"""Several guarded measures of one candidate at once, and captions that share an image."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.calibration.outcomes import CAPTIONS, Outcomes
from benchmarks.calibration.sampling import Pool, SampledCounts
from benchmarks.calibration.scenarios import DRAWS, EDGE, SIZES, SPOT_CHECKS, shares, summary
from benchmarks.calibration.verdicts import FAILED, PASSED, POLICY, Gate, Guard, verdicts
from benchmarks.calibration.version_pairs import LEAST_LOSS, nulls, planted
from benchmarks.calibration.version_plan import ROOT

WIDE = 1.0  # a tolerance that no loss exceeds


def multiple_measures(
    versions: Mapping[str, Outcomes], groups: Sequence[Sequence[str]], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Yield rows for all questions guarded together; those of a group are about the same images.

    With every measure exactly at its tolerance, the rows have the rate at which any fails, which
    Holm's correction bounds; with one measure 0.05 points beyond its tolerance and the others far
    within, the rate at which the update passes.
    """
    gate = Gate()
    pools = {name: _pools(versions, name, groups) for name in _losing_all(versions, groups)}
    for size in SIZES if pools else ():
        at, beyond = [], []
        for candidate in pools.values():
            drawn: dict[str, SampledCounts] = {}
            for pool in candidate:
                drawn |= pool.draw(size, DRAWS, rng, POLICY.alpha)
            loss = {q: pool.loss(q) for pool in candidate for q in pool.questions}
            edge = [Guard(drawn=drawn[q], tolerance=loss[q]) for q in drawn]
            at.append(shares(edge, gate, checked=SPOT_CHECKS))
            for bad in drawn:
                allowed = dict.fromkeys(drawn, WIDE) | {bad: loss[bad] - EDGE}
                guards = [Guard(drawn=drawn[q], tolerance=allowed[q]) for q in drawn]
                beyond.append(shares(guards, gate, checked=SPOT_CHECKS))
        number = sum(map(len, groups))
        for name, rates, wrong in (
            (f"{number} measures, each at its tolerance", at, FAILED),
            (f"{number} measures, one 0.05 points beyond", beyond, PASSED),
        ):
            yield {"scenario": name, "images": size, **summary(rates, wrong)}


def _losing_all(versions: Mapping[str, Outcomes], groups: Sequence[Sequence[str]]) -> list[str]:
    """Return the versions that are worse than the untouched one on every question."""
    questions = [question for group in groups for question in group]
    root = versions[ROOT]
    return [
        name
        for name, found in versions.items()
        if all(root.accuracy(q) - found.accuracy(q) >= LEAST_LOSS for q in questions)
    ]


def _pools(
    versions: Mapping[str, Outcomes], name: str, groups: Sequence[Sequence[str]]
) -> list[Pool]:
    return [Pool.of(versions[ROOT], versions[name], group) for group in groups]


def captions(
    versions: Mapping[str, Outcomes], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Yield rows for text to image, drawn by image, with and without the design effect.

    Each pair's tolerance is its own true loss, so either firm verdict is an error.
    """
    pairs = [*nulls(versions, CAPTIONS), *planted(versions, CAPTIONS)]
    for size in SIZES:
        effects = []
        rates: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
        for pair in pairs:
            drawn = pair.pool.draw(size, DRAWS, rng, POLICY.alpha)[CAPTIONS]
            plain = replace(drawn, design_effect=np.ones(DRAWS))
            effects.append(float(np.median(drawn.design_effect)))
            for name, given in (("with", drawn), ("without", plain)):
                found = verdicts([Guard(drawn=given, tolerance=pair.loss)])
                rates[name].append({v: float((found == v).mean()) for v in (PASSED, FAILED)})
        row: dict[str, Any] = {"images": size, "pairs": len(pairs)}
        row["design effect"] = f"{min(effects):.2f}-{max(effects):.2f}"
        for name, found_rates in rates.items():
            for verdict in (PASSED, FAILED):
                shares_of = [100 * rate[verdict] for rate in found_rates]
                row[f"{verdict} % {name}"] = round(float(np.mean(shares_of)), 2)
                row[f"worst {verdict} % {name}"] = round(max(shares_of), 2)
        yield row
