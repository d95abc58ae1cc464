"""The measures of an examination: every paired comparison that the gate looks at."""

from collections.abc import Iterator, Sequence

from core.domain.evaluation.plan import ClassEvaluation, HoldoutEvaluation, RetrievalEvaluation
from core.domain.evaluation.results import LIVE, Baseline, EvaluationResults
from core.domain.gate.intervals import Flips, design_effect
from core.domain.gate.measure import Measure, MeasureKind
from core.domain.values import Digest


def measures(sheet: EvaluationResults) -> list[Measure]:
    """Suites against parent, root and live version, holdouts against who knows them, the gain."""
    exam = sheet.plan
    found = [
        _top_1(sheet, MeasureKind.ZERO_SHOT, suite, baseline)
        for baseline in sheet.suite_baselines
        for suite in exam.zero_shot
    ]
    for baseline in sheet.suite_baselines:
        for captioned in exam.retrieval:
            found += [
                _recall_of_captions(sheet, captioned, baseline),
                _recall_of_images(sheet, captioned, baseline),
            ]
    for pairs in (sheet.kept, sheet.replaced):
        found += [_top_1(sheet, MeasureKind.HOLDOUT, holdout.exam, by) for holdout, by in pairs]
        if len(pairs) > 1:
            found.append(_together(sheet, pairs))
    if exam.own is not None:
        found.append(_top_1(sheet, MeasureKind.GAIN, exam.own.exam, sheet.gain_baseline))
    return found


def _top_1(
    sheet: EvaluationResults, kind: MeasureKind, exam: ClassEvaluation, baseline: Baseline
) -> Measure:
    return Measure.of(
        kind,
        name=exam.name,
        baseline=baseline.name,
        baseline_version=baseline.version.number,
        tolerance=baseline.tolerance,
        images=len(exam.own.entries),
        now=sheet.hits(sheet.plan.candidate, exam.own),
        before=sheet.hits(baseline.version, exam.own),
        alpha=sheet.plan.policy.alpha,
    )


def _together(
    sheet: EvaluationResults, pairs: Sequence[tuple[HoldoutEvaluation, Baseline]]
) -> Measure:
    """Several holdouts as one measure, so that many small updates guard each other.

    An image in more than one of them counts once, as what it was last taught to be.
    """
    hits: dict[Digest, tuple[bool, bool]] = {}
    for holdout, baseline in pairs:
        question = holdout.exam.own
        now = sheet.hits(sheet.plan.candidate, question)
        before = sheet.hits(baseline.version, question)
        for entry, *answers in zip(question.entries, now, before, strict=True):
            hits[entry.pixels] = (answers[0], answers[1])
    _, last = pairs[-1]
    replaced = last.name == LIVE
    return Measure.of(
        MeasureKind.HOLDOUTS,
        name=f"{len(pairs)} updates of the live version" if replaced else f"{len(pairs)} updates",
        baseline=LIVE if replaced else "versions that learned them",
        baseline_version=last.version.number if replaced else None,
        tolerance=last.tolerance,
        images=len(hits),
        now=[now for now, _ in hits.values()],
        before=[before for _, before in hits.values()],
        alpha=sheet.plan.policy.alpha,
    )


def _recall_of_captions(
    sheet: EvaluationResults, exam: RetrievalEvaluation, baseline: Baseline
) -> Measure:
    now = sheet.ranks(sheet.plan.candidate, exam.own).image_ranks
    before = sheet.ranks(baseline.version, exam.own).image_ranks
    return Measure.of(
        MeasureKind.IMAGE_TO_TEXT,
        name=exam.name,
        baseline=baseline.name,
        baseline_version=baseline.version.number,
        tolerance=baseline.tolerance,
        images=len(exam.own.entries),
        now=_first(now),
        before=_first(before),
        alpha=sheet.plan.policy.alpha,
    )


def _recall_of_images(
    sheet: EvaluationResults, exam: RetrievalEvaluation, baseline: Baseline
) -> Measure:
    now = _first(sheet.ranks(sheet.plan.candidate, exam.own).caption_ranks)
    before = _first(sheet.ranks(baseline.version, exam.own).caption_ranks)
    sizes = [len(entry.texts) for entry in exam.own.entries]
    alpha = sheet.plan.policy.alpha
    return Measure.of(
        MeasureKind.TEXT_TO_IMAGE,
        name=exam.name,
        baseline=baseline.name,
        baseline_version=baseline.version.number,
        tolerance=baseline.tolerance,
        images=len(exam.own.entries),
        now=now,
        before=before,
        design_effect=design_effect(clusters(now, before, sizes), alpha),
        alpha=alpha,
    )


def _first(ranks: Sequence[int]) -> list[bool]:
    return [rank == 0 for rank in ranks]


def clusters(now: Sequence[bool], before: Sequence[bool], sizes: Sequence[int]) -> Iterator[Flips]:
    """The flips of each image's captions; `sizes` says how many captions each image has."""
    start = 0
    for size in sizes:
        end = start + size
        pairs = list(zip(now[start:end], before[start:end], strict=True))
        yield Flips(
            count=size,
            gained=sum(new and not old for new, old in pairs),
            lost=sum(old and not new for new, old in pairs),
        )
        start = end
