"""The verdicts that the test images of a measure have given a line, and the luck that is inherited.

Verdicts are counted, not answers: they stay when images are erased. A suite goes on with the count
of every suite that had half of its test images, so neither another name nor an erasure starts it
anew. The holdout of an update goes on with that of the update which it repeats without erased
images, because a version stands in the place of the one that it replaces.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from core.artifacts.store import Artifacts
from core.database.work import Work
from core.datasets.freeze import read_manifest
from core.datasets.manifests import Part
from core.datasets.version_rows import Suites
from core.evaluation.plan import (
    ClassEvaluation,
    EvaluationPlan,
    RetrievalEvaluation,
    entries_in,
)
from core.gate.rules import Spending, inherited_luck
from core.registry.inheritance import places
from core.registry.rows import Versions
from core.registry.verdict_rows import Verdicts
from core.registry.versions import Descent
from core.values import Digest, SuiteId

T = TypeVar("T", bound=str)


def spending_in(
    work: Work, artifacts: Artifacts, plan: EvaluationPlan
) -> Mapping[Digest, Spending]:
    """Return the spending of a plan's suites and earlier holdouts, by the query on their own list.

    Empty without a budget.
    """
    if plan.policy.budget is None:
        return {}
    judged, descents = work[Verdicts].suites(plan.model.id), work[Versions].descents(plan.model.id)
    place, candidate = places(descents), plan.candidate.number
    ids = {suite.name: suite.id for suite in plan.suites}
    images = _test_images(work, artifacts, {*ids.values(), *_flat(judged.values())})
    found: dict[Digest, Spending] = {}
    exams: list[ClassEvaluation | RetrievalEvaluation] = [*plan.zero_shot, *plan.retrieval]
    for exam in exams:
        wanted = images[ids[exam.name]]
        alike = {
            suites: 2 * len(wanted & _flat(images[one] for one in suites)) >= len(wanted)
            for suites in set(judged.values())
        }
        by_these = {number for number, suites in judged.items() if alike[suites]}
        found[exam.own.digest] = spending(candidate, descents, by_these)
    for holdout in plan.kept:
        learned = place[holdout.learner.number]
        since = {number for number in judged if place[number] > learned}
        found[holdout.exam.own.digest] = spending(candidate, descents, since)
    return found


def _flat(sets: Iterable[Collection[T]]) -> set[T]:
    return {one for each in sets for one in each}


def _test_images(
    work: Work, artifacts: Artifacts, suites: Iterable[SuiteId]
) -> Mapping[SuiteId, frozenset[Digest]]:
    """Return the test images of suites, with those that were erased since."""
    found = {}
    for suite in suites:
        manifest = read_manifest(artifacts, work[Suites].get(suite).manifest)
        tested = entries_in(Part.TEST, manifest.entries)
        found[suite] = frozenset(entry.pixels for entry in tested)
    return found


def spending(candidate: int, descents: Mapping[int, Descent], judged: Collection[int]) -> Spending:
    """Return the spending of a candidate on images that have judged some versions of its model.

    An ancestor was tried as often as versions of its parent were judged before its own child was
    made: it may be the best of them.
    """
    place = places(descents)
    tried: dict[int, set[int]] = defaultdict(set)
    for number in judged:
        if (before := descents[number].parent) is not None:
            tried[place[before]].add(place[number])
    tries, child, ancestor = [], candidate, descents[candidate].parent
    while ancestor is not None and (before := descents[ancestor].parent) is not None:
        tries.append(max(1, sum(one < place[child] for one in tried[place[before]])))
        child, ancestor = ancestor, before
    return Spending(verdict=len({*judged, candidate}), luck=inherited_luck(tries))
