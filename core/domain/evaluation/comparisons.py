"""The measures of an evaluation: every paired comparison that the gate judges."""

from collections.abc import Iterator, Sequence

from core.domain.evaluation.plan import ClassEvaluation, HoldoutEvaluation, RetrievalEvaluation
from core.domain.evaluation.results import LIVE, Baseline, EvaluationResults
from core.domain.gate.intervals import Flips, design_effect
from core.domain.gate.measure import Measure, MeasureKind
from core.domain.values import Digest


def measures(results: EvaluationResults) -> list[Measure]:
    """Return all measures of an evaluation.

    These compare suites with parent, root and live version, earlier holdouts with the versions that
    learned them, and the own holdout with the parent (the gain).
    """
    plan = results.plan
    found = [
        _top_1(results, MeasureKind.ZERO_SHOT, suite, baseline)
        for baseline in results.suite_baselines
        for suite in plan.zero_shot
    ]
    for baseline in results.suite_baselines:
        for captioned in plan.retrieval:
            found += [
                _recall_of_captions(results, captioned, baseline),
                _recall_of_images(results, captioned, baseline),
            ]
    for pairs in (results.kept, results.replaced):
        found += [_top_1(results, MeasureKind.HOLDOUT, holdout.exam, by) for holdout, by in pairs]
        if len(pairs) > 1:
            found.append(_combined(results, pairs))
    if plan.own is not None:
        found.append(_top_1(results, MeasureKind.GAIN, plan.own.exam, results.gain_baseline))
    return found


def _top_1(
    results: EvaluationResults, kind: MeasureKind, evaluation: ClassEvaluation, baseline: Baseline
) -> Measure:
    return Measure.of(
        kind,
        name=evaluation.name,
        baseline=baseline.name,
        baseline_version=baseline.version.number,
        tolerance=baseline.tolerance,
        images=len(evaluation.own.entries),
        now=results.hits(results.plan.candidate, evaluation.own),
        before=results.hits(baseline.version, evaluation.own),
        alpha=results.plan.policy.alpha,
    )


def _combined(
    results: EvaluationResults, pairs: Sequence[tuple[HoldoutEvaluation, Baseline]]
) -> Measure:
    """Return several holdouts as one measure, so that many small updates guard each other.

    An image in more than one of them counts once, with the class that was taught last.
    """
    hits: dict[Digest, tuple[bool, bool]] = {}
    for holdout, baseline in pairs:
        query = holdout.exam.own
        now = results.hits(results.plan.candidate, query)
        before = results.hits(baseline.version, query)
        for entry, *answers in zip(query.entries, now, before, strict=True):
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
        alpha=results.plan.policy.alpha,
    )


def _recall_of_captions(
    results: EvaluationResults, evaluation: RetrievalEvaluation, baseline: Baseline
) -> Measure:
    now = results.ranks(results.plan.candidate, evaluation.own).image_ranks
    before = results.ranks(baseline.version, evaluation.own).image_ranks
    return Measure.of(
        MeasureKind.IMAGE_TO_TEXT,
        name=evaluation.name,
        baseline=baseline.name,
        baseline_version=baseline.version.number,
        tolerance=baseline.tolerance,
        images=len(evaluation.own.entries),
        now=_first(now),
        before=_first(before),
        alpha=results.plan.policy.alpha,
    )


def _recall_of_images(
    results: EvaluationResults, evaluation: RetrievalEvaluation, baseline: Baseline
) -> Measure:
    now = _first(results.ranks(results.plan.candidate, evaluation.own).caption_ranks)
    before = _first(results.ranks(baseline.version, evaluation.own).caption_ranks)
    sizes = [len(entry.texts) for entry in evaluation.own.entries]
    alpha = results.plan.policy.alpha
    return Measure.of(
        MeasureKind.TEXT_TO_IMAGE,
        name=evaluation.name,
        baseline=baseline.name,
        baseline_version=baseline.version.number,
        tolerance=baseline.tolerance,
        images=len(evaluation.own.entries),
        now=now,
        before=before,
        design_effect=design_effect(clusters(now, before, sizes), alpha),
        alpha=alpha,
    )


def _first(ranks: Sequence[int]) -> list[bool]:
    return [rank == 0 for rank in ranks]


def clusters(now: Sequence[bool], before: Sequence[bool], sizes: Sequence[int]) -> Iterator[Flips]:
    """Yield the flips of each image's captions; `sizes` are the numbers of captions per image."""
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
