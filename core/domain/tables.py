"""The descriptive tables of a report: shown to people, not judged by the gate."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from core.domain.answer_sheet import AnswerSheet
from core.domain.examination import ClassExam
from core.domain.intervals import Flips, paired_interval, proportion_interval
from core.domain.measure import MeasureKind
from core.domain.metrics import average_accuracy, macro_accuracy, micro_accuracy, recalls
from core.domain.question import ClassQuestion
from core.domain.report import Change, ChangeTable, ListScore, Recall, Scores
from core.domain.version import Version


def scores(sheet: AnswerSheet, role: str, version: Version) -> Scores:
    """The headline accuracies of one version."""
    exam = sheet.examination
    tasks = [sheet.counts(version, holdout.exam.union) for holdout in exam.holdouts]
    suites = [sheet.counts(version, suite.own) for suite in exam.zero_shot]
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


def changes(sheet: AnswerSheet) -> Iterator[ChangeTable]:
    """Class by class: the own holdout, each suite, each other holdout."""
    exam = sheet.examination
    compared = [
        (MeasureKind.ZERO_SHOT, suite, baseline)
        for baseline in sheet.suite_baselines
        for suite in exam.zero_shot
    ]
    holdouts = sheet.kept + sheet.replaced
    compared += [(MeasureKind.HOLDOUT, holdout.exam, by) for holdout, by in holdouts]
    if exam.own is not None:
        compared.insert(0, (MeasureKind.GAIN, exam.own.exam, sheet.gain_baseline))
    for kind, asked, baseline in compared:
        yield ChangeTable(
            kind=kind,
            name=asked.name,
            baseline=baseline.name,
            baseline_version=baseline.version.number,
            classes=class_changes(
                asked.own,
                now=sheet.hits(exam.candidate, asked.own),
                before=sheet.hits(baseline.version, asked.own),
                alpha=exam.policy.alpha,
            ),
        )


def class_changes(
    question: ClassQuestion, *, now: Sequence[bool], before: Sequence[bool], alpha: float
) -> tuple[Change, ...]:
    """The change of every class that has an image, worst first; of equals, the surest first."""
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for entry, new, old in zip(question.entries, now, before, strict=True):
        pairs.setdefault(entry.class_name, []).append((new, old))
    rows = [_change(name, found, alpha) for name, found in pairs.items()]
    return tuple(sorted(rows, key=lambda row: (row.difference, row.upper, row.class_name)))


def _change(name: str, pairs: Sequence[tuple[bool, bool]], alpha: float) -> Change:
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


def list_scores(sheet: AnswerSheet) -> Iterator[ListScore]:
    """Accuracies over a question's own class list and over the union, side by side."""
    exam = sheet.examination
    asked = [(MeasureKind.ZERO_SHOT, suite) for suite in exam.zero_shot]
    asked += [(MeasureKind.HOLDOUT, holdout.exam) for holdout in exam.earlier]
    for kind, class_exam in asked:
        for role, version in sheet.roles:
            yield _list_score(sheet, kind, class_exam, role, version)
    for holdout, live in sheet.replaced:
        for role, version in (("candidate", exam.candidate), ("live", live.version)):
            yield _list_score(sheet, MeasureKind.HOLDOUT, holdout.exam, role, version)


def _list_score(
    sheet: AnswerSheet, kind: MeasureKind, exam: ClassExam, role: str, version: Version
) -> ListScore:
    return ListScore(
        kind=kind,
        name=exam.name,
        role=role,
        version=version.number,
        images=len(exam.own.entries),
        own_classes=len(exam.own.classes),
        union_classes=len(exam.union.classes),
        own=sheet.accuracy(version, exam.own),
        union=sheet.accuracy(version, exam.union),
    )


def recall_rows(sheet: AnswerSheet) -> Iterator[Recall]:
    """R@1, R@5 and R@10 both ways, for candidate, parent, root and live version."""
    for exam in sheet.examination.retrieval:
        captions = sum(len(entry.texts) for entry in exam.own.entries)
        for role, version in sheet.roles:
            ranks = sheet.ranks(version, exam.own)
            for direction, queries, gallery in (
                (MeasureKind.IMAGE_TO_TEXT, ranks.image_ranks, captions),
                (MeasureKind.TEXT_TO_IMAGE, ranks.caption_ranks, len(exam.own.entries)),
            ):
                at = recalls(queries)
                yield Recall(
                    suite=exam.name,
                    direction=direction,
                    role=role,
                    version=version.number,
                    queries=len(queries),
                    gallery=gallery,
                    at_1=at[1],
                    at_5=at[5],
                    at_10=at[10],
                )
