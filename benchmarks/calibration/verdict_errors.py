"""The main table: verdicts on nulls with churn and on losses just beyond the tolerance."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.calibration.outcomes import CAPTIONS, Outcomes
from benchmarks.calibration.scenarios import (
    DRAWS,
    SIZES,
    TOLERANCES,
    is_near,
    just_beyond,
    shares,
)
from benchmarks.calibration.verdicts import FAILED, PASSED, POLICY, Gate, Guard
from benchmarks.calibration.version_pairs import Pair, nulls, planted

JUDGED_UP_TO = 2000  # images; of larger suites and captions, the gate judges a tenth of the draws


def main_table(
    versions: Mapping[str, Outcomes], questions: Sequence[str], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Yield a row for each question and size with the verdicts on 2,000 draws.

    Nine draws in ten of large suites and of captions are judged by the vectorised rule alone.
    The null is the pair of seeds, of one recipe or one size of noise, with the most flips; the
    planted loss is the one nearest to each tolerance in use.
    """
    for question in questions:
        for name, pair, tolerance, wrong in _cases(versions, question):
            for size in SIZES:
                drawn = pair.pool.draw(size, DRAWS, rng, POLICY.alpha)
                guards = [Guard(drawn=drawn[question], tolerance=tolerance)]
                fully = size <= JUDGED_UP_TO and question != CAPTIONS
                rate = shares(guards, Gate(), checked=DRAWS if fully else DRAWS // 10)
                yield {
                    "question": question,
                    "case": name,
                    "versions": f"{pair.before} > {pair.now}",
                    "flips %": round(100 * pair.churn, 1),
                    "loss": round(100 * pair.loss, 2),
                    "tolerance": round(100 * tolerance, 2),
                    "images": size,
                    **{str(verdict): round(DRAWS * share) for verdict, share in rate.items()},
                    "wrong %": round(100 * rate[wrong], 2),
                }


def _cases(
    versions: Mapping[str, Outcomes], question: str
) -> Iterator[tuple[str, Pair, float, str]]:
    null = max(nulls(versions, question), key=lambda pair: pair.churn)
    yield "null, 3 points allowed", null, TOLERANCES[0], FAILED
    yield "null, just its difference allowed", null, null.loss, FAILED
    losses = planted(versions, question)
    for tolerance in TOLERANCES:
        near = [pair for pair in losses if is_near(pair, tolerance)]
        if near:
            pair = min(near, key=lambda pair: abs(pair.loss - tolerance))
            yield "loss just beyond", just_beyond(pair, tolerance), tolerance, PASSED
