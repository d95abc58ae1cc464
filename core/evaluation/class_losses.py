"""Losses of each single class, since all versions that a candidate is compared with."""

from collections.abc import Iterator

from core.evaluation.comparisons import Comparison, comparisons, gain_over_live
from core.evaluation.plan import ClassEvaluation
from core.evaluation.results import EvaluationResults
from core.gate.classes import ClassLoss
from core.gate.measures import SUITES, ClassList
from core.values import Digest


def class_losses(results: EvaluationResults) -> Iterator[ClassLoss]:
    """Yield each class of suites, of earlier holdouts over both lists, and of the own holdout.

    Where classes of suites and learned ones compete, none is compared: a name that overlaps with a
    class may take all of it, and be right.
    """
    for one in (*comparisons(results.plan), *gain_over_live(results.plan)):
        (exam, _), *others = one.pairs
        overlaps = one.asked is ClassList.WITH_SUITES
        overlaps |= one.kind in SUITES and one.asked is ClassList.UNION
        if isinstance(exam, ClassEvaluation) and not (others or overlaps):
            yield from _of_each(results, one, exam)


def worse_classes(results: EvaluationResults) -> list[ClassLoss]:
    """Return the update's own classes of which it recognises less than its parent, worst first.

    Each version is asked in its own prompt, if these differ.
    """
    own = results.plan.own
    if own is None:
        return []
    *_, gain = comparisons(results.plan)
    found = (loss for loss in _of_each(results, gain, own.exam) if loss.right < loss.right_before)
    return sorted(found, key=lambda loss: (loss.right - loss.right_before) / loss.images)


def _of_each(
    results: EvaluationResults, one: Comparison, exam: ClassEvaluation
) -> Iterator[ClassLoss]:
    """Yield each class, and again by the images of an earlier edition alone, if it has grown."""
    hits, ((_, version),) = results.paired(one), one.pairs
    live = results.live_paired(one)
    entries, standing = exam.over(one.asked).entries, hits.before if live is None else live.now
    rows = list(zip(entries, hits.groups, hits.now, hits.before, standing, strict=True))
    *earlier, newest = sorted({entry.edition for entry in entries})
    for edition in (newest, *earlier):
        found: dict[str, dict[Digest, tuple[bool, bool, bool]]] = {}  # one of near-duplicates
        for entry, group, now, before, at_live in rows:
            if entry.edition <= edition:
                found.setdefault(entry.class_name, {}).setdefault(group, (now, before, at_live))
        grown = {entry.class_name for entry in entries if entry.edition > edition}
        for class_name, each in found.items():
            if edition < newest and class_name not in grown:
                continue
            pairs = each.values()
            yield ClassLoss(
                kind=one.kind,
                name=one.name,
                baseline=one.baseline,
                baseline_version=version.number,
                asked=one.asked,
                own_prompts=one.own_prompts,
                edition=edition if edition < newest else None,
                class_name=class_name,
                images=len(pairs),
                right=sum(now for now, *_ in pairs),
                right_before=sum(before for _, before, _ in pairs),
                gained=sum(now and not before for now, before, _ in pairs),
                lost=sum(before and not now for now, before, _ in pairs),
                live_right=None if live is None else sum(at_live for *_, at_live in pairs),
            )
