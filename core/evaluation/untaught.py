"""Changes on the classes of a comparison in which the line has not improved since its baseline.

What an update gains on the classes of a suite that it teaches would make up for what it loses on
all others. So the images of these are judged by themselves, too.
"""

from collections import Counter
from collections.abc import Iterator

from core.evaluation.comparisons import Comparison
from core.evaluation.exams import ClassExam
from core.evaluation.paired_hits import PairedHits, one_a_group
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import ClassQuery
from core.evaluation.results import EvaluationResults
from core.gate.changes import Untaught
from core.gate.kinds import ClassList, MeasureKind
from core.registry.versions import Version

_Parts = list[tuple[ClassQuery, PairedHits]]


def untaught(results: EvaluationResults, comparison: Comparison, level: float) -> Untaught | None:
    """Return the changes on the classes not improved; None if these are all, or none is shown.

    The gain, captions, unlabelled images, default lists and holdouts that are judged together have
    none either. `level` is the error of the bound.
    """
    (exam, _), *_ = comparison.pairs
    elsewhere = comparison.pooled or comparison.kind is MeasureKind.GAIN
    if elsewhere or comparison.asked is ClassList.DEFAULT or not isinstance(exam, ClassExam):
        return None
    every = results.on_each(comparison, results.plan.candidate)
    parts = _not_improved(results, comparison, results.plan.candidate)
    images = sum(len(query.entries) for query, _ in parts)
    if not parts or images == sum(len(query.entries) for query, _ in every):
        return None
    meanings, live = results.meanings, results.live_in(comparison)
    since_live = None
    if live is not None:
        theirs = _together(comparison, _not_improved(results, comparison, live))
        since_live = (sum(theirs.now) - sum(theirs.before)) / len(theirs.now)
    return Untaught(
        **vars(_together(comparison, parts).changes(level)),
        classes=len({meanings.get(one, one) for query, _ in parts for one in query.truths}),
        live_difference=since_live,
    )


def _together(comparison: Comparison, parts: _Parts) -> PairedHits:
    return one_a_group(parts, by_class=comparison.is_of_holdouts)


def _not_improved(results: EvaluationResults, comparison: Comparison, now: Version) -> _Parts:
    """Return the hits of a version on the images of these classes, by suite or holdout."""
    found: _Parts = []
    parts = results.on_each(comparison, now)
    for (_, before), (query, hits) in zip(comparison.pairs, parts, strict=True):
        if before.number not in results.improved:
            results.improved[before.number] = _improved_since(results, before)
        improved = results.improved[before.number]
        kept = [results.meanings.get(one, one) not in improved for one in query.truths]
        if any(kept):
            found.append((query.only(kept), hits.only(kept)))
    return found


def _improved_since(results: EvaluationResults, before: Version) -> frozenset[str]:
    """Return the classes in which the candidate's line improved since it left another's.

    A class counts if more of the images that these updates held out of it are right than with that
    version, or with the root if that version has not answered about them. Naming a class in an
    update, with a few images and none held out, takes nothing from what it has to keep. They are
    the names that stand for what the policy calls the same, in lower case.
    """
    plan, gained = results.plan, Counter[str]()
    theirs = {one.number for one in _line(plan, before)}
    since = {one.number for one in _line(plan, plan.candidate)} - theirs
    for exam in (one.exam for one in plan.holdouts if one.learner.number in since):
        answered = (before.digest, exam.own.digest) in results.answers
        now = results.hits(plan.candidate, exam.own)
        then = results.hits(before if answered else plan.root, exam.own)
        for truth, right, was_right in zip(exam.own.truths, now, then, strict=True):
            gained[results.meanings.get(truth, truth)] += right - was_right
    return frozenset(name for name, more in gained.items() if more > 0)


def _line(plan: EvaluationPlan, version: Version) -> Iterator[Version]:
    """Yield a version and its ancestors, as far as the plan knows them."""
    known = {one.number: one for one in (plan.root, plan.parent, *plan.teachers)}
    at: Version | None = version
    while at is not None:
        yield at
        at = known.get(at.parent or 0)
