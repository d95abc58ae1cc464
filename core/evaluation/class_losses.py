"""Losses of each single class, since all versions that a candidate is compared with."""

from collections.abc import Iterator

from core.evaluation.comparisons import Comparison, comparisons
from core.evaluation.plan import ClassEvaluation
from core.evaluation.results import EvaluationResults
from core.gate.classes import ClassLoss
from core.gate.measures import SUITES, ClassList, MeasureKind
from core.values import Digest


def class_losses(results: EvaluationResults) -> Iterator[ClassLoss]:
    """Yield each class of suites, and of earlier holdouts over both lists of classes.

    Suites are compared over their own list alone: with newer classes to choose from, a name that
    overlaps with a class may take all of it, and be right.
    """
    for one in comparisons(results.plan):
        (exam, _), *others = one.pairs
        if isinstance(exam, ClassEvaluation) and not others and _is_asked(one):
            yield from _of_each(results, one, exam)


def _is_asked(one: Comparison) -> bool:
    overlaps = one.kind in SUITES and one.asked is ClassList.UNION
    return not (one.kind is MeasureKind.GAIN or overlaps)


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
