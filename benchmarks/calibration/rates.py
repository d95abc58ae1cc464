"""Vectorised intervals of a paired difference, to be compared with Tango's.

Every function takes arrays (or numbers) of images, gains and losses; `z` is the normal quantile of
each one-sided bound. `tango_score` and `skewness_corrected` are the vectorised `score` and
`corrected_score` of `core.gate.measures`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from benchmarks.calibration.sample import CAPTIONS, Outcomes, Pair, SampledCounts, nulls, planted
from core.gate.changes import strictness
from core.gate.fields import defaults_of
from core.gate.intervals import ALPHA, quantile
from core.gate.judge import judge
from core.gate.kinds import MeasureKind
from core.gate.levels import Spending
from core.gate.measures import Measure
from core.gate.rules import GatePolicy, Verdict
from core.values import PolicyId

Numbers = NDArray[np.float64]

Bounds = tuple[Numbers, Numbers]  # lower, upper

Statistic = Callable[[Any, Any, Any, Any], Numbers]

_HALVINGS = 50

POLICY = GatePolicy(  # the service's, but without a minimum of images
    id=PolicyId("study"), name="study", minimum_count=1, created_at=datetime(2026, 1, 1, tzinfo=UTC)
)

IN_USE = replace(POLICY, minimum_count=defaults_of(GatePolicy)["minimum_count"])

FIRST = POLICY.level_of(Spending())  # the error of lower bounds at a version's first look


def tango_score(n: Any, gained: Any, lost: Any, at: Any) -> Numbers:
    """Return the distance of the observed difference from `at` in standard deviations."""
    return _score(n, gained, lost, at)[0]


def skewness_corrected(n: Any, gained: Any, lost: Any, at: Any) -> Numbers:
    """Return Tango's score, corrected for the skewness of the difference.

    It is the z that solves z + skew / 6 (z^2 - 1) = score, with the third moment of a paired
    difference. Source: P. J. Laud, Pharmaceutical Statistics 16 (2017) 334-348.
    """
    score, rate, variance = _score(n, gained, lost, at)
    flips = 2 * rate + at  # the restricted share of flips: losses q, gains q + at
    third = np.asarray(n, float) * (at - 3 * at * flips + 2 * np.power(at, 3))
    sixth = third / np.maximum(variance, 1e-12) ** 1.5 / 6
    root = 1 + 4 * sixth * (score + sixth)
    curved = (np.sqrt(np.maximum(root, 0)) - 1) / np.where(sixth == 0, 1, 2 * sixth)
    return np.where(np.abs(sixth) < 1e-12, score, curved)


def _score(n: Any, gained: Any, lost: Any, at: Any) -> tuple[Numbers, Numbers, Numbers]:
    n, gained, lost = (np.asarray(given, float) for given in (n, gained, lost))
    b = (2 * n - gained + lost) * at - gained - lost
    c = -lost * at * (1 - at)
    rate = (np.sqrt(np.maximum(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = np.maximum(0.0, n * (2 * rate + at * (1 - at)))
    distance = gained - lost - n * at
    distance = np.where(np.abs(distance) < 1e-12, 0.0, distance)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(distance == 0, 0.0, distance / np.sqrt(variance))
    return score, rate, variance


def tango(n: Any, gained: Any, lost: Any, z: float) -> Bounds:
    """Return Tango's score interval (1998)."""
    return _inverted(tango_score, n, gained, lost, z)


def corrected(n: Any, gained: Any, lost: Any, z: float) -> Bounds:
    """Return the interval of the skewness-corrected score."""
    return _inverted(skewness_corrected, n, gained, lost, z)


def wald(n: Any, gained: Any, lost: Any, z: float) -> Bounds:
    """Return the textbook interval: the difference ± z times its estimated standard error."""
    n, gained, lost = (np.asarray(given, float) for given in (n, gained, lost))
    difference = (gained - lost) / n
    reach = z * np.sqrt(np.maximum(0.0, gained + lost - n * difference**2)) / n
    return difference - reach, difference + reach


def agresti_min(n: Any, gained: Any, lost: Any, z: float) -> Bounds:
    """Return Wald's interval after adding half an observation to each of the four cells.

    Source: A. Agresti and Y. Min, Statistics in Medicine 24 (2005) 729-740.
    """
    lower, upper = wald(np.asarray(n) + 2, np.asarray(gained) + 0.5, np.asarray(lost) + 0.5, z)
    return np.maximum(lower, -1), np.minimum(upper, 1)


def newcombe(n: Any, gained: Any, lost: Any, z: float, *, right: Any = None) -> Bounds:
    """Return Newcombe's interval, from Wilson's of both accuracies and their correlation.

    `right` is the number of images that both versions answer right, by default half of those that
    do not flip. Source: R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10.
    """
    n, gained, lost = (np.asarray(given, float) for given in (n, gained, lost))
    both = (n - gained - lost) / 2 if right is None else np.asarray(right, float)
    neither = n - gained - lost - both
    now, before = both + gained, both + lost
    (low_1, high_1), (low_2, high_2) = _wilson(now, n, z), _wilson(before, n, z)
    excess = both * neither - gained * lost
    excess = np.where(excess > 0, np.maximum(excess - n / 2, 0), excess)
    margins = np.sqrt(now * (n - now) * before * (n - before))
    phi = np.where(margins > 0, excess / np.where(margins > 0, margins, 1), 0.0)
    p_1, p_2 = now / n, before / n

    def reach(left: Numbers, right: Numbers) -> Numbers:
        squared: Numbers = left**2 - 2 * phi * left * right + right**2
        return np.sqrt(squared)  # never negative: phi lies between -1 and 1

    difference = p_1 - p_2
    return (
        difference - reach(p_1 - low_1, high_2 - p_2),
        difference + reach(high_1 - p_1, p_2 - low_2),
    )


def bootstrap(
    n: int, gained: int, lost: int, alpha: float, rng: np.random.Generator, resamples: int = 2000
) -> tuple[float, float]:
    """Return the percentile interval of the difference over resampled images."""
    shares = [gained / n, lost / n, max(0.0, 1 - (gained + lost) / n)]
    drawn = rng.multinomial(n, shares, size=resamples)
    lower, upper = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, [alpha, 1 - alpha])
    return float(lower), float(upper)


INTERVALS: dict[str, Callable[[Any, Any, Any, float], Bounds]] = {
    "Tango": tango,
    "skewness-corrected": corrected,
    "Newcombe 10": newcombe,
    "Agresti-Min": agresti_min,
    "Wald": wald,
}

STATISTICS: dict[str, Statistic] = {
    "Tango": tango_score,
    "skewness-corrected": skewness_corrected,
}


def _wilson(hits: Numbers, n: Numbers, z: float) -> Bounds:
    rate, spread = hits / n, z * z / n
    centre = rate + spread / 2
    reach = z * np.sqrt((rate * (1 - rate) + spread / 4) / n)
    return (centre - reach) / (1 + spread), (centre + reach) / (1 + spread)


def _inverted(
    statistic: Callable[..., Numbers], n: Any, gained: Any, lost: Any, z: float
) -> Bounds:
    """Return the differences that are z standard deviations from the observed one."""
    n, gained, lost = np.broadcast_arrays(*(np.asarray(x, float) for x in (n, gained, lost)))

    def lower(up: Numbers, down: Numbers) -> Numbers:
        left: Numbers = np.full(n.shape, -1.0)
        right: Numbers = (up - down) / n
        for _ in range(_HALVINGS):
            middle = (left + right) / 2
            beyond = statistic(n, up, down, middle) > z
            left, right = np.where(beyond, middle, left), np.where(beyond, right, middle)
        return right

    return lower(gained, lost), -lower(lost, gained)


# Exact error rates and power, as sums over the trinomial distribution of the counts.


_REACH = 5.5  # standard deviations, beyond which the probability is less than 1e-7


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Possible counts of a suite of n images, with their probabilities."""

    n: int
    gained: NDArray[np.int64]
    lost: NDArray[np.int64]
    weight: NDArray[np.float64]


def counts(n: int, gain: float, loss: float) -> Counts:
    """Return the likely counts of n images that turn right at rate `gain`, wrong at rate `loss`."""
    gained, lost = np.meshgrid(_likely(n, gain), _likely(n, loss), indexing="ij")
    keep = gained + lost <= n
    gained, lost = gained[keep], lost[keep]
    rest = n - gained - lost
    log = gammaln(n + 1) - gammaln(gained + 1) - gammaln(lost + 1) - gammaln(rest + 1)
    log += xlogy(gained, gain) + xlogy(lost, loss) + xlogy(rest, max(0.0, 1 - gain - loss))
    return Counts(n=n, gained=gained, lost=lost, weight=np.exp(log))


def _likely(n: int, rate: float) -> NDArray[np.int64]:
    reach = _REACH * np.sqrt(n * rate * (1 - rate)) + (20 if rate else 0)
    return np.arange(max(0, int(n * rate - reach)), min(n, int(n * rate + reach) + 1) + 1)


def verdict_rates(
    n: int,
    *,
    churn: float,
    difference: float,
    tolerance: float,
    level: float = FIRST,
    tests: int = 2,
) -> tuple[float, float]:
    """Return (P(holds), P(fails)) of one measure.

    It holds at error `level`, and fails at `ALPHA`, which Holm's first step divides by `tests`: the
    measure and the gain.
    """
    table = counts(n, max(0.0, churn + difference) / 2, max(0.0, churn - difference) / 2)
    counted = (n, table.gained, table.lost, -tolerance)
    holds = table.weight[tango_score(*counted) >= quantile(level)].sum()
    fails = table.weight[skewness_corrected(*counted) < -quantile(ALPHA / tests)].sum()
    return float(holds), float(fails)


def images_needed(
    power: float, *, churn: float, difference: float, tolerance: float, level: float = FIRST
) -> int | None:
    """Return how many images a measure needs to hold (beyond its tolerance: fail) with this power.

    The result is accurate to 1 %; the search starts from the normal approximation. None where
    `churn` is too small for the difference.
    """
    if churn < abs(difference) - 1e-9:
        return None
    side = 0 if difference > -tolerance else 1

    def enough(n: int) -> bool:
        rates = verdict_rates(
            n,
            churn=churn,
            difference=difference,
            tolerance=tolerance,
            level=level,
        )
        return rates[side] >= power

    z = quantile(level if side == 0 else ALPHA / 2) + quantile(1 - power)
    spread = churn - difference**2
    rough = max(8, round(z * z * spread / (difference + tolerance) ** 2))
    low, high = rough * 3 // 4, rough
    while enough(low):
        low = low * 3 // 4
    while not enough(high):
        low, high = high, high * 5 // 4
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


# The gate's verdicts on drawn suites, by its own code and by a vectorised form of its rule.


GAIN = SampledCounts(  # an update that learned: 60 of its 100 held-out images are right only now
    question="gain",
    images=100,
    count=np.array([100]),
    gained=np.array([60]),
    lost=np.array([5]),
    design_effect=np.ones(1),
)

PASSED, FAILED, INCONCLUSIVE = Verdict

_KINDS = {
    "image to text": MeasureKind.IMAGE_TO_TEXT,
    CAPTIONS: MeasureKind.TEXT_TO_IMAGE,
    "gain": MeasureKind.GAIN,
}


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One guarded measure in many drawn suites, and its tolerance."""

    drawn: SampledCounts
    tolerance: float  # fraction of 1
    pooled: bool = False  # one of several holdouts

    def scores(self, statistic: Statistic) -> Numbers:
        """Return a score of each draw at the tolerance, (draws,)."""
        effect = self.drawn.design_effect
        count, gained, lost = self.drawn.count, self.drawn.gained, self.drawn.lost
        return statistic(count / effect, gained / effect, lost / effect, -self.tolerance)


def score_asked(images: int, minimum: int, *, pooled: bool, level: float = FIRST) -> float:
    """Return the score from which on a measure of so many images holds."""
    share = strictness(images, minimum, pooled=pooled)
    return share * quantile(ALPHA if share <= 0 else level)


def verdicts(
    guards: Sequence[Guard], policy: GatePolicy = POLICY, *, level: float = FIRST
) -> NDArray[np.str_]:
    """Return the verdict on each draw, (draws,), by a vectorised form of the gate's rule."""
    tests = len(guards) + 1  # the gain, which holds, is judged too
    limit = -quantile(policy.alpha / tests)
    failing = np.any([guard.scores(skewness_corrected) < limit for guard in guards], axis=0)
    least = policy.minimum_count
    holding = np.all(
        [
            guard.scores(tango_score)
            >= score_asked(guard.drawn.images, least, pooled=guard.pooled, level=level)
            for guard in guards
        ],
        axis=0,
    )
    guarding = (not g.pooled and g.drawn.images >= least for g in guards)
    passed = holding & any(guarding)
    return np.where(failing, FAILED, np.where(passed, PASSED, INCONCLUSIVE))


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The service's own gate, with a cache of its verdicts by counts."""

    policy: GatePolicy = POLICY
    _measures: dict[tuple[object, ...], Measure] = field(default_factory=dict)
    _verdicts: dict[tuple[object, ...], Verdict] = field(default_factory=dict)

    def verdict(self, guards: Sequence[Guard], draw: int) -> Verdict:
        """Return the verdict on one of the draws, with a gain that holds."""
        keys = tuple(_key(guard, draw) for guard in guards)
        if keys not in self._verdicts:
            gain = Guard(drawn=GAIN, tolerance=-self.policy.wanted_gain)
            measures = [self._measure(*pair) for pair in zip(guards, keys, strict=True)]
            measures.append(self._measure(gain, _key(gain, 0)))
            self._verdicts[keys] = judge(measures, self.policy).verdict
        return self._verdicts[keys]

    def _measure(self, guard: Guard, key: tuple[object, ...]) -> Measure:
        if key not in self._measures:
            _, images, count, gained, lost, effect, tolerance, pooled = key
            still = [True] * (count - gained - lost)  # type: ignore[operator]
            self._measures[key] = Measure.of(
                _KINDS.get(guard.drawn.question, MeasureKind.ZERO_SHOT),
                name=guard.drawn.question,
                baseline="parent",
                baseline_version=1,
                tolerance=tolerance,  # type: ignore[arg-type]
                images=images,  # type: ignore[arg-type]
                now=[True] * gained + [False] * lost + still,  # type: ignore[operator]
                before=[False] * gained + [True] * lost + still,  # type: ignore[operator]
                design_effect=effect,  # type: ignore[arg-type]
                alpha=self.policy.alpha,
                minimum_count=self.policy.minimum_count,
                pooled=bool(pooled),
                level=self.policy.gain_error if guard.drawn is GAIN else FIRST,
            )
        return self._measures[key]


def _key(guard: Guard, draw: int) -> tuple[object, ...]:
    drawn = guard.drawn
    return (
        drawn.question,
        drawn.images,
        int(drawn.count[draw]),
        int(drawn.gained[draw]),
        int(drawn.lost[draw]),
        float(drawn.design_effect[draw]),
        guard.tolerance,
        guard.pooled,
    )


# Scenarios of one guarded measure: pairs, their tolerances, and the verdict that is wrong.


SIZES = (100, 200, 500, 1000, 2000, 5000, 10_000)  # images of a suite

DRAWS = 2000

SPOT_CHECKS = 5  # draws of every case that the gate itself judges too

EDGE = 0.0005  # just beyond or just inside: 0.05 points

TOLERANCES = (0.03, 0.05, 0.06)  # the defaults, and the demo's

NEAR = 0.015  # a loss this near to a tolerance is moved to just beyond it


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A family of pairs, each with the tolerance that it is judged by."""

    name: str
    wrong: str  # the verdict that is an error
    cases: tuple[tuple[Pair, float], ...]  # pair and tolerance


def scenarios(versions: Mapping[str, Outcomes], questions: Sequence[str]) -> Iterator[Scenario]:
    """Yield all scenarios that have a pair."""
    null = [pair for question in questions for pair in nulls(versions, question)]
    loss = [pair for question in questions for pair in planted(versions, question)]
    found = [
        _family("null, 3 points allowed", FAILED, null, _always(0.03)),
        _family("null, just its difference allowed", FAILED, null, _part_of_loss(1)),
        _family("loss 0.05 points inside", FAILED, loss, lambda pair: pair.loss + EDGE),
        _family("loss 0.05 points beyond", PASSED, loss, lambda pair: pair.loss - EDGE),
    ]
    for tolerance in TOLERANCES:
        moved = [just_beyond(pair, tolerance) for pair in loss if is_near(pair, tolerance)]
        name = f"loss 0.05 points beyond {100 * tolerance:.0f}"
        found.append(_family(name, PASSED, moved, _always(tolerance)))
    for times in (1.25, 1.5, 2.0):
        name = f"loss {times:g} times the tolerance"
        found.append(_family(name, PASSED, loss, _part_of_loss(times)))
    yield from (scenario for scenario in found if scenario.cases)


def is_near(pair: Pair, tolerance: float) -> bool:
    """Return whether the loss is near enough to a tolerance to be moved just beyond it."""
    return abs(pair.loss - tolerance) <= NEAR


def just_beyond(pair: Pair, tolerance: float) -> Pair:
    """Return the pair with its images weighted to lose 0.05 points more than the tolerance."""
    return pair.reweighted(tolerance + EDGE)


_Tolerance = Callable[[Pair], float]


def _always(tolerance: float) -> _Tolerance:
    return lambda _: tolerance


def _part_of_loss(times: float) -> _Tolerance:
    return lambda pair: pair.loss / times


def _family(name: str, wrong: str, pairs: Sequence[Pair], tolerance: _Tolerance) -> Scenario:
    cases = tuple((pair, tolerance(pair)) for pair in pairs)
    return Scenario(name=name, wrong=wrong, cases=cases)


def rows_of(scenario: Scenario, gate: Gate, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Yield a row for each suite size: rates over all pairs' draws, and the worst pair."""
    for size in SIZES:
        rates = []
        for pair, tolerance in scenario.cases:
            drawn = pair.pool.draw(size, DRAWS, rng, FIRST)
            guards = [Guard(drawn=drawn[pair.question], tolerance=tolerance)]
            rates.append(shares(guards, gate, checked=SPOT_CHECKS))
        yield {"scenario": scenario.name, "images": size, **summary(rates, scenario.wrong)}


def summary(rates: Sequence[Mapping[str, float]], wrong: str) -> dict[str, Any]:
    """Return each verdict's mean percentage over pairs, and the worst pair's wrong verdicts."""
    row: dict[str, Any] = {"pairs": len(rates)}
    for verdict in (PASSED, FAILED, INCONCLUSIVE):
        row[f"{verdict} %"] = round(100 * float(np.mean([rate[verdict] for rate in rates])), 2)
    row["wrong"] = str(wrong)
    row["worst pair %"] = round(100 * max(rate[wrong] for rate in rates), 2)
    return row


def shares(guards: Sequence[Guard], gate: Gate, *, checked: int) -> dict[str, float]:
    """Return the shares of the three verdicts.

    The gate itself judges the first `checked` draws too. Raises Disagreement when its verdict
    differs.
    """
    found = verdicts(guards, gate.policy)
    for draw in range(min(checked, len(found))):
        if gate.verdict(guards, draw) != found[draw]:
            raise Disagreement(guards, draw)
    return {verdict: float((found == verdict).mean()) for verdict in (PASSED, FAILED, INCONCLUSIVE)}


class Disagreement(Exception):
    """The vectorised rule and the gate differ, so the study would not describe the gate."""


# The main table: verdicts on nulls with churn and on losses just beyond the tolerance.


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
                drawn = pair.pool.draw(size, DRAWS, rng, FIRST)
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
