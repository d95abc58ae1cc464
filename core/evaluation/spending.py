"""The verdicts that the test images of a measure have given a line, and the luck that is inherited.

Verdicts are counted, not answers: they stay when images are erased. A suite goes on with the count
of every suite that had half of its test images, so neither another name nor an erasure starts it
anew. Nor does another model: what others tried on the same weights counts, too, and so does what a
blame has trained and asked about a suite's images. The holdout of an
update goes on with that of the update which it repeats without erased images, because a version
stands in the place of the one that it replaces.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from core.artifacts.store import Artifacts
from core.database.work import Work
from core.evaluation.looks import Look, Looks, are_alike, tested_images
from core.evaluation.plan import EvaluationPlan
from core.gate.levels import Spending, inherited_luck
from core.registry.inheritance import places
from core.registry.verdict_rows import Tries, Verdicts
from core.registry.verdicts import Try
from core.registry.version_rows import Versions
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
    exams = plan.suite_exams
    at = {exam.own.digest: looks.at(ids[exam.name]) for exam in exams}
    together = looks.at_holdouts
    at |= {query.digest: together for one in plan.kept for query in one.queries}
    galleries = [at[exam.own.digest] for exam in plan.retrieval]
    searched = max(galleries, key=lambda look: look.number, default=Look())
    for one in plan.kept_captions:  # a suite that has grown is another gallery of small ones
        at[one.exam.own.digest] = searched if one.exam.among else Look()
    if plan.policy.budget is None:
        return {query: Spending(look=look.number, seen=look.seen) for query, look in at.items()}
    judged, descents = work[Verdicts].suites(plan.model.id), work[Versions].descents(plan.model.id)
    place, candidate = places(descents), plan.candidate.number
    elsewhere, made = work[Tries].beside(plan.model.id), work[Versions].made(plan.model.id)
    suites = {*ids.values(), *_flat(judged.values()), *(one.suite for one in elsewhere)}
    images = tested_images(work, artifacts, suites)
    found: dict[Digest, Spending] = {}
    for exam in exams:
        wanted = images[ids[exam.name]]
        alike = {
            suites: any(are_alike(wanted, images[one]) for one in suites)
            for suites in set(judged.values())
        }
        by_these = {number for number, suites in judged.items() if alike[suites]}
        look = at[exam.own.digest]
        others = [one for one in elsewhere if are_alike(wanted, images[one.suite])]
        spent = spending(candidate, descents, by_these, _placed(others, made, place))
        found[exam.own.digest] = replace(spent, look=look.number, seen=look.seen)
    held_out = [(one.learner, one.queries) for one in plan.kept]
    held_out += [(one.learner, [one.exam.own]) for one in plan.kept_captions]
    for learner, queries in held_out:
        learned = place[learner.number]
        since = {number for number in judged if place[number] > learned}
        for query in queries:
            look = at[query.digest]
            spent = spending(candidate, descents, since)
            found[query.digest] = replace(spent, look=look.number, seen=look.seen)
    return found


def _flat(sets: Iterable[Iterable[T]]) -> set[T]:
    return {one for each in sets for one in each}


@dataclass(frozen=True, kw_only=True)
class TryElsewhere:
    """A try by another model or a blame, at the place of its parent among the versions."""

    parent: int | None  # None: it has no version with these weights
    before: int  # the first version here that was made later


def _placed(
    tries: Iterable[Try], made: Mapping[int, tuple[Digest, datetime]], place: Mapping[int, int]
) -> list[TryElsewhere]:
    """Return the tries that are no versions of the model, each once."""
    numbers = {digest: place[number] for number, (digest, _) in made.items()}
    return [
        TryElsewhere(
            parent=numbers.get(one.parent),
            before=next(
                (number for number, (_, at) in made.items() if at >= one.at), max(made) + 1
            ),
        )
        for one in {one.version: one for one in tries}.values()
    ]


def spending(
    candidate: int,
    descents: Mapping[int, Descent],
    judged: Collection[int],
    elsewhere: Collection[TryElsewhere] = (),
) -> Spending:
    """Return the spending of a candidate on images that have judged some versions of its model.

    An ancestor was tried as often as versions of its parent were judged, also `elsewhere`, before
    its own child was made: it may be the best of them.
    """
    place = places(descents)
    tried: dict[int, set[int]] = defaultdict(set)
    for number in judged:
        if (before := descents[number].parent) is not None:
            tried[place[before]].add(place[number])
    tries, child, ancestor = [], candidate, descents[candidate].parent
    while ancestor is not None and (before := descents[ancestor].parent) is not None:
        here = sum(one < place[child] for one in tried[place[before]])
        there = sum(one.parent == place[before] and one.before <= child for one in elsewhere)
        tries.append(max(1, here + there))
        child, ancestor = ancestor, before
    count = len({*judged, candidate}) + len(elsewhere)
    return Spending(verdict=count, luck=inherited_luck(tries))
