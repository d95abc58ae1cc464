"""Changes on the classes of a comparison that have not improved since its baseline.

What is gained on some classes of a suite or holdout would make up for what is lost on all others.
So these are judged by themselves, too: without the classes that updates have improved, by the
images that they held out, and once more without images of whose class the other images show a gain.
Captions, imports and updates of few images improve classes without a held-out image that shows it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.evaluation.comparison import Comparison
from core.evaluation.exams import ClassExam
from core.evaluation.paired_hits import PairedHits, one_a_group
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import ClassQuery
from core.evaluation.results import EvaluationResults
from core.gate.changes import Ungained, Untaught, alone
from core.gate.kinds import ClassList, MeasureKind
from core.registry.versions import Version

_Parts = list[tuple[ClassQuery, PairedHits]]


@dataclass(frozen=True, kw_only=True)
class OtherClasses:
    """The changes on the classes of a comparison that are not improved; None if these are all."""

    untaught: Untaught | None = None  # by the images that updates held out
    ungained: Ungained | None = None  # the worst part that shows no gain, or an earlier edition
    parts: tuple[PairedHits, ...] = ()  # the hits on these, and on what is asked of all classes


def other_classes(results: EvaluationResults, comparison: Comparison, level: float) -> OtherClasses:
    """Return the changes on the classes not improved.

    Of the gain, captions, unlabelled images and default lists there are none, and of a holdout that
    is judged with others only those by the other images. `level` is the error of the bound.
    """
    (exam, _), *_ = comparison.pairs
    if (
        comparison.kind is MeasureKind.GAIN
        or comparison.asked is ClassList.DEFAULT
        or not isinstance(exam, ClassExam)
    ):
        return OtherClasses()
    pooled = comparison.pooled  # the own holdout, too, which would tell by itself what improved
    parts = [] if pooled else _not_improved(results, comparison, results.plan.candidate)
    shown = sum(len(exam.own.entries) for exam, _ in comparison.pairs)
    asked = [*editions_of(results.paired(comparison))]
    left = sum(len(query.entries) for query, _ in parts)
    untaught, earlier = None, list[tuple[int, PairedHits]]()
    if 0 < left < shown:
        together = _together(comparison, parts)
        earlier = [(number, hits) for number, hits, _ in together.as_it_grew()]
        asked += [together, *(hits for _, hits in earlier)]
        names = {results.meanings.get(one, one) for query, _ in parts for one in query.truths}
        untaught = Untaught(
            **vars(together.changes(level)),
            classes=len(names),
            live_difference=_live_difference(results, comparison),
        )
    least = results.plan.policy.minimum_count
    without = [one for hits in asked if (one := without_gain(hits, results.meanings))]
    found = [ungained(hits, results.meanings, level) for hits in without]
    found += [ungained(hits, results.meanings, level, edition=n) for n, hits in earlier]
    worse = min(found, key=lambda one: one.bound(alone(one.distinct, least)), default=None)
    return OtherClasses(untaught=untaught, ungained=worse, parts=(*asked[1:], *without))


def editions_of(whole: PairedHits) -> Sequence[PairedHits]:
    """Return the hits on all images, and on those of each earlier edition.

    In each class, images that are added could make up for what is lost on earlier ones.
    """
    return [whole, *(earlier for _, earlier, _ in whole.as_it_grew())]


def _live_difference(results: EvaluationResults, comparison: Comparison) -> float | None:
    """Return the change that the live version has on classes that no update has improved."""
    live = results.live_in(comparison)
    if live is None:
        return None
    theirs = _together(comparison, _not_improved(results, comparison, live))
    return (sum(theirs.now) - sum(theirs.before)) / len(theirs.now)


def without_gain(hits: PairedHits, meanings: Mapping[str, str]) -> PairedHits | None:
    """Return the hits on images of whose class the others show no gain; None if all or none do.

    An image's own answer does not say if it counts: among the others, gains and losses are as
    likely as they are. So a version without a loss pays hardly anything.
    """
    classes = [meanings.get(one, one) for one in hits.truths]
    changes = [now - before for now, before in zip(hits.now, hits.before, strict=True)]
    kept = show_no_gain(classes, changes)
    return hits.only(kept) if any(kept) and not all(kept) else None


def show_no_gain(classes: Sequence[str], changes: Sequence[int]) -> list[bool]:
    """Return of each image whether the others of its class show no gain, given their changes."""
    gains, flips = Counter[str](), Counter[str]()
    for name, change in zip(classes, changes, strict=True):
        gains[name] += change
        flips[name] += abs(change)

    def shows_none(name: str, change: int) -> bool:
        gain, changed = gains[name] - change, flips[name] - abs(change)
        return gain <= 0 or gain * gain < changed

    return [shows_none(*each) for each in zip(classes, changes, strict=True)]


def ungained(
    hits: PairedHits, meanings: Mapping[str, str], level: float, edition: int | None = None
) -> Ungained:
    """Return the changes on images of whose class the others show no gain, or of an edition."""
    shown = len({meanings.get(one, one) for one in hits.truths})
    return Ungained(**vars(hits.changes(level)), classes=shown, edition=edition)


def _together(comparison: Comparison, parts: _Parts) -> PairedHits:
    return one_a_group(parts, by_class=comparison.is_of_holdouts)


def _not_improved(results: EvaluationResults, comparison: Comparison, now: Version) -> _Parts:
    """Return the hits of a version on the images of these classes, by suite or holdout."""
    found: _Parts = []
    parts = results.on_each(comparison, now)
    for (_, before), (query, hits) in zip(comparison.pairs, parts, strict=True):
        improved = improved_since(results, before)
        kept = [results.meanings.get(one, one) not in improved for one in query.truths]
        if any(kept):
            found.append((query.only(kept), hits.only(kept)))
    return found


def improved_since(results: EvaluationResults, before: Version) -> frozenset[str]:
    """Return the classes in which the candidate's line improved since it left another's.

    A class counts if more of the images that these updates held out of it are right than with that
    version, or with the root if that version has not answered about them. Naming a class in an
    update, with a few images and none held out, takes nothing from what it has to keep. They are
    the names that stand for what the policy calls the same, in lower case.
    """
    if before.number not in results.improved:
        results.improved[before.number] = frozenset(_improved_since(results, before))
    return results.improved[before.number]


def _improved_since(results: EvaluationResults, before: Version) -> Iterator[str]:
    plan, gained = results.plan, Counter[str]()
    theirs = {one.number for one in _line(plan, before)}
    since = {one.number for one in _line(plan, plan.candidate)} - theirs
    for exam in (one.exam for one in plan.holdouts if one.learner.number in since):
        answered = (before.digest, exam.own.digest) in results.answers
        now = results.hits(plan.candidate, exam.own)
        then = results.hits(before if answered else plan.root, exam.own)
        for truth, right, was_right in zip(exam.own.truths, now, then, strict=True):
            gained[results.meanings.get(truth, truth)] += right - was_right
    yield from (name for name, more in gained.items() if more > 0)


def _line(plan: EvaluationPlan, version: Version) -> Iterator[Version]:
    """Yield a version and its ancestors, as far as the plan knows them."""
    known = {one.number: one for one in (plan.root, plan.parent, *plan.teachers)}
    at: Version | None = version
    while at is not None:
        yield at
        at = known.get(at.parent or 0)
