"""The descriptive tables of a report, which the gate does not judge."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from core.evaluation.answers import RetrievalAnswers
from core.evaluation.comparison import Comparison
from core.evaluation.comparisons import comparisons
from core.evaluation.exams import ClassExam
from core.evaluation.queries import ClassQuery, RetrievalQuery
from core.evaluation.report import Change, ChangeTable, ListScore, Recall, Scores, Taken
from core.evaluation.results import (
    EvaluationResults,
    average_accuracy,
    macro_accuracy,
    micro_accuracy,
    recalls,
)
from core.gate.intervals import Flips, paired_interval, proportion_interval
from core.gate.kinds import SETTLED, ClassList, MeasureKind
from core.registry.versions import Version
from core.values import Digest


def scores(results: EvaluationResults, role: str, version: Version) -> Scores:
    """Return the headline accuracies of a version."""
    plan = results.plan
    tasks = [results.counts(version, holdout.exam.union) for holdout in plan.holdouts]
    suites = [results.counts(version, suite.own) for suite in plan.zero_shot]
    micro = micro_accuracy(count for task in tasks for count in task) if tasks else None
    zero_shot = micro_accuracy(count for suite in suites for count in suite) if suites else None
    return Scores(
        role=role,
        version=version.number,
        ut_micro=micro,
        ut_macro=fmean(map(macro_accuracy, tasks)) if tasks else None,
        zero_shot=zero_shot,
        average=None if micro is None or zero_shot is None else average_accuracy(micro, zero_shot),
    )


def changes(results: EvaluationResults) -> Iterator[ChangeTable]:
    """Yield the changes by class on the own holdout, each suite and each other holdout.

    Those on other holdouts are against the versions that the candidate may replace.
    """
    plan = results.plan
    found = list(comparisons(plan))
    found.sort(key=lambda one: one.kind is not MeasureKind.GAIN)
    for one in found:
        (exam, before), *others = one.pairs
        wide = one.asked is not ClassList.OWN or one.baseline == SETTLED
        if others or wide or one.own_prompts or not isinstance(exam, ClassExam):
            continue
        yield ChangeTable(
            kind=one.kind,
            name=one.name,
            baseline=one.baseline,
            baseline_version=before.number,
            classes=class_changes(
                exam.own,
                now=results.hits(plan.candidate, exam.own),
                before=results.hits(before, exam.own),
                alpha=plan.policy.alpha,
            ),
        )


def class_changes(
    query: ClassQuery, *, now: Sequence[bool], before: Sequence[bool], alpha: float
) -> tuple[Change, ...]:
    """Return the change of every class that has an image, worst first; ties by upper bound."""
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for entry, new, old in zip(query.entries, now, before, strict=True):
        pairs.setdefault(entry.class_name, []).append((new, old))
    rows = [class_change(name, found, alpha) for name, found in pairs.items()]
    return tuple(sorted(rows, key=lambda row: (row.difference, row.upper, row.class_name)))


def class_change(name: str, pairs: Sequence[tuple[bool, bool]], alpha: float) -> Change:
    """Return the change of a class from the hits (now, before) on each of its images."""
    gained = sum(new and not old for new, old in pairs)
    lost = sum(old and not new for new, old in pairs)
    right = sum(new for new, _ in pairs)
    flips = Flips(count=len(pairs), gained=gained, lost=lost)
    accuracy = proportion_interval(right, len(pairs), alpha)
    difference = paired_interval(flips, alpha)
    return Change(
        class_name=name,
        images=len(pairs),
        right=right,
        right_before=right - gained + lost,
        gained=gained,
        lost=lost,
        accuracy_lower=accuracy.lower,
        accuracy_upper=accuracy.upper,
        difference=flips.difference,
        lower=difference.lower,
        upper=difference.upper,
    )


def list_scores(results: EvaluationResults) -> Iterator[ListScore]:
    """Yield accuracies over a query's own class list and over the union."""
    plan = results.plan
    asked = [(MeasureKind.ZERO_SHOT, suite) for suite in plan.zero_shot]
    asked += [(MeasureKind.HOLDOUT, holdout.exam) for holdout in plan.earlier]
    for kind, exam in asked:
        for role, version in results.roles:
            yield _list_score(results, kind, exam, role, version)
    for holdout in plan.live_holdouts:
        for role, version in results.roles:
            if role in {"candidate", "live"}:
                yield _list_score(results, MeasureKind.HOLDOUT, holdout.exam, role, version)


def _list_score(
    results: EvaluationResults,
    kind: MeasureKind,
    exam: ClassExam,
    role: str,
    version: Version,
) -> ListScore:
    return ListScore(
        kind=kind,
        name=exam.name,
        role=role,
        version=version.number,
        images=len(exam.own.entries),
        own_classes=len(exam.own.classes),
        union_classes=len(exam.union.classes),
        own=results.accuracy(version, exam.own),
        union=results.accuracy(version, exam.union),
    )


MOST_TAKEN = 20  # rows of a comparison, besides those whose names may mean the same
LEAST_SAME = 3  # images that show that two names may mean the same


def taken(results: EvaluationResults) -> Iterator[Taken]:
    """Yield the answers to images that were right over a longer list and are wrong, most first.

    They are told for each suite and holdout with all learned classes to choose from, for the pool
    of small holdouts with those of suites too, or over default lists, and for each version that the
    candidate may replace.
    """
    in_pool = {ClassList.WITH_SUITES, ClassList.DEFAULT}
    for one in comparisons(results.plan):
        (exam, _), *others = one.pairs
        elsewhere = one.pooled if one.asked in in_pool else bool(others)
        if elsewhere or one.is_cumulative or one.own_prompts or one.asked is ClassList.OWN:
            continue
        if isinstance(exam, ClassExam):
            rows = [*_taken_in(results, one)]
            rows.sort(key=lambda row: (-row.images, row.class_name, row.answered))
            yield from (row for n, row in enumerate(rows) if n < MOST_TAKEN or row.may_be_same)


def _taken_in(results: EvaluationResults, one: Comparison) -> Iterator[Taken]:
    now, own, shorter = results.plan.candidate, set[str](), set[str]()
    lost_to: dict[Digest, tuple[str, str | None] | None] = {}  # an image in several counts once
    for exam, before in one.pairs:
        if not isinstance(exam, ClassExam):
            continue
        own |= {name.lower() for name in exam.own.classes}
        shorter |= {name.lower() for name in exam.over(one.asked.shorter).classes}
        asked = one.query(exam, now)
        answers = zip(
            asked.entries,
            results.class_answers(now, asked).predicted,
            results.hits(now, asked),
            results.hits(before, one.query(exam, before)),
            strict=True,
        )
        for entry, predicted, right, was_right in answers:
            confused = entry.class_name, (*asked.classes, None)[predicted]
            lost_to[entry.pixels] = confused if was_right and not right else None
    wrong = Counter(found for found in lost_to.values() if found is not None)
    lost, took = Counter[str](), Counter[str | None]()
    for (class_name, answered), images in wrong.items():
        lost[class_name] += images
        took[answered] += images
    of_suite = one.kind is MeasureKind.ZERO_SHOT and one.asked is ClassList.UNION
    may_overlap = of_suite or one.asked is ClassList.WITH_SUITES
    for (class_name, answered), images in wrong.items():
        if answered is None:
            continue
        mostly = 2 * images > max(lost[class_name], took[answered])
        yield Taken(
            kind=one.kind,
            asked=one.asked,
            name=one.name,
            baseline=one.baseline,
            baseline_version=one.pairs[0][1].number,
            class_name=class_name,
            answered=answered,
            newer=answered.lower() not in own,
            images=images,
            lost=lost[class_name],
            may_be_same=may_overlap
            and answered.lower() not in shorter
            and images >= LEAST_SAME
            and mostly,
        )


def recall_rows(results: EvaluationResults) -> Iterator[Recall]:
    """Yield the recalls of candidate, parent, root and live version, on holdouts of captions too.

    On those of updates that the live version alone inherits, only it and the candidate answer.
    """
    plan = results.plan
    shared = (*plan.retrieval, *(one.exam for one in plan.captioned))
    asked = [(one, results.roles) for one in shared]
    others = tuple(one for one in results.roles if one[0] in {"candidate", "live"})
    asked += [(one.exam, others) for one in plan.live_captioned]
    for exam, roles in asked:
        for role, version in roles:
            ranks = results.ranks(version, exam)
            yield from recalls_by_direction(
                ranks,
                suite=exam.name,
                role=role,
                version=version.number,
                gallery=exam.over(ClassList.OWN),
            )


def recalls_by_direction(
    ranks: RetrievalAnswers, *, suite: str, role: str, version: int, gallery: RetrievalQuery
) -> Iterator[Recall]:
    """Yield a version's R@1, R@5 and R@10 from image to text, then from text to image."""
    images, captions = len(gallery.entries), sum(len(entry.texts) for entry in gallery.entries)
    for direction, found, size in (
        (MeasureKind.IMAGE_TO_TEXT, ranks.image_ranks, captions),
        (MeasureKind.TEXT_TO_IMAGE, ranks.caption_ranks, images),
    ):
        at = recalls(found)
        yield Recall(
            suite=suite,
            direction=direction,
            role=role,
            version=version,
            queries=len(found),
            gallery=size,
            at_1=at[1],
            at_5=at[5],
            at_10=at[10],
        )
