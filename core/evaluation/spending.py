"""The verdicts that the test images of a measure have given a line, and the luck that is inherited.

Verdicts are counted, not answers: they stay when images are erased. A suite goes on with the count
of every suite that had half of its test images, so neither another name nor an erasure starts it
anew. The holdout of an update goes on with that of the update which it repeats without erased
images, because a version stands in the place of the one that it replaces.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from core.artifacts.store import Artifacts
from core.database.work import Work
from core.evaluation.looks import Looks, are_alike, tested_images
from core.evaluation.plan import ClassEvaluation, EvaluationPlan, RetrievalEvaluation
from core.gate.levels import Spending, inherited_luck
from core.registry.inheritance import places
from core.registry.rows import Versions
from core.registry.verdict_rows import Verdicts
from core.registry.versions import Descent
from core.values import Digest

T = TypeVar("T", bound=str)


def spending_in(
    work: Work, artifacts: Artifacts, plan: EvaluationPlan, looks: Looks
) -> Mapping[Digest, Spending]:
    """Return the spending of a plan's suites and earlier holdouts, by the query on their own list.

    Without a budget it has the looks alone.
    """
    ids = {suite.name: suite.id for suite in plan.suites}
    exams: list[ClassEvaluation | RetrievalEvaluation] = [*plan.zero_shot, *plan.retrieval]
    at = {exam.own.digest: looks.at(ids[exam.name]) for exam in exams}
    together = looks.at_holdouts
    at |= {query.digest: together for one in plan.kept for query in one.queries}
    if plan.policy.budget is None:
        return {query: Spending(look=look.number, seen=look.seen) for query, look in at.items()}
    judged, descents = work[Verdicts].suites(plan.model.id), work[Versions].descents(plan.model.id)
    place, candidate = places(descents), plan.candidate.number
    images = tested_images(work, artifacts, {*ids.values(), *_flat(judged.values())})
    found: dict[Digest, Spending] = {}
    for exam in exams:
        wanted = images[ids[exam.name]].keys()
        alike = {
            suites: any(are_alike(wanted, images[one].keys()) for one in suites)
            for suites in set(judged.values())
        }
        by_these = {number for number, suites in judged.items() if alike[suites]}
        look = at[exam.own.digest]
        spent = spending(candidate, descents, by_these)
        found[exam.own.digest] = replace(spent, look=look.number, seen=look.seen)
    for holdout in plan.kept:
        learned = place[holdout.learner.number]
        since = {number for number in judged if place[number] > learned}
        for query in holdout.queries:
            look = at[query.digest]
            spent = spending(candidate, descents, since)
            found[query.digest] = replace(spent, look=look.number, seen=look.seen)
    return found


def _flat(sets: Iterable[Iterable[T]]) -> set[T]:
    return {one for each in sets for one in each}


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
