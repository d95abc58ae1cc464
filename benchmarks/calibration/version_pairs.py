"""The pairs of versions to compare: nulls with churn, and planted losses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.calibration.outcomes import Outcomes
from benchmarks.calibration.sampling import Pool
from benchmarks.calibration.version_plan import ROOT

NULL_AT_MOST = 0.025  # the largest difference of two seeds that counts as none
LEAST_LOSS = 0.005


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A baseline and a candidate that is no better on a question's whole pool."""

    before: str
    now: str
    question: str
    pool: Pool

    @property
    def loss(self) -> float:
        """The candidate's loss of accuracy."""
        return self.pool.loss(self.question)

    @property
    def churn(self) -> float:
        """The share of answers that flip."""
        return sum(self.pool.rates(self.question))

    def reweighted(self, loss: float) -> "Pair":
        """Return the pair with its losing images weighted so that exactly `loss` is lost."""
        return replace(self, pool=self.pool.reweighted(self.question, loss))


def pair(versions: Mapping[str, Outcomes], before: str, now: str, question: str) -> Pair:
    """Pair two versions, the better one first."""
    if versions[before].accuracy(question) < versions[now].accuracy(question):
        before, now = now, before
    pool = Pool.of(versions[before], versions[now], [question])
    return Pair(before=before, now=now, question=question, pool=pool)


def nulls(versions: Mapping[str, Outcomes], question: str) -> list[Pair]:
    """Return pairs of two seeds of one recipe or one size of noise, of about equal accuracy."""
    seeds: dict[str, list[str]] = {}
    for name in versions:
        recipe, _, seed = name.rpartition("-")
        if seed.isdigit():
            seeds.setdefault(recipe, []).append(name)
    twins = [names for names in seeds.values() if len(names) == 2]
    found = [pair(versions, one, other, question) for one, other in twins]
    return [null for null in found if null.loss <= NULL_AT_MOST]


def planted(versions: Mapping[str, Outcomes], question: str) -> list[Pair]:
    """Return pairs of the untouched version and each that is at least half a point worse."""
    found = [pair(versions, ROOT, name, question) for name in versions if name != ROOT]
    return [loss for loss in found if loss.before == ROOT and loss.loss >= LEAST_LOSS]
