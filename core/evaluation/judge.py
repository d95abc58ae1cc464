"""Judge a candidate: compare its answers with those of other versions, and report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from core.errors import AnswersNotFinite
from core.evaluation.class_losses import class_losses, mean_change, worse_classes
from core.evaluation.comparisons import Comparison, Exam, comparisons
from core.evaluation.estimates import estimated, to_label
from core.evaluation.guards import unguarded_in
from core.evaluation.plan import ClassEvaluation, EvaluationPlan
from core.evaluation.queries import together
from core.evaluation.report import GrownImages, Report, budget_use
from core.evaluation.report_tables import changes, list_scores, recall_rows, scores, taken
from core.evaluation.results import (
    AnswersByQuery,
    EvaluationResults,
    accuracy_matrix,
    tasks,
    transfer,
)
from core.evaluation.summary import summarise
from core.evaluation.unlabelled import UnlabelledEvaluation
from core.evaluation.untaught import untaught
from core.gate.changes import Edition
from core.gate.judge import Judgement, judge
from core.gate.kinds import ROOT, SETTLED, SUITES, ClassList, MeasureKind, Outcome
from core.gate.levels import Spending
from core.gate.measures import Measure
from core.gate.rules import GatePolicy, Verdict
from core.values import Digest, SuiteId


def build_report(
    plan: EvaluationPlan,
    answers: AnswersByQuery,
    *,
    previous: Report | None,
    spending: Mapping[Digest, Spending],
    failed_before: frozenset[int] = frozenset(),
    judged_before: int,
    near_duplicates: int,
) -> Report:
    """Return the report of a candidate from the answers to its evaluation plan.

    `previous` is the parent's report, the source of the older rows of the accuracy matrix; without
    it their cells stay empty. `spending` is by query: one that is missing judges its first
    version. `failed_before` are the versions beside which an earlier look has failed,
    `judged_before` is the number of candidates that these test parts have judged, in any line, and
    `near_duplicates` the number of the update's images with an older near-duplicate.
    `answers` must cover `plan.questions`; a missing answer is a KeyError. Raises AnswersNotFinite
    when a version that the candidate is compared with has features that are not finite; a
    candidate with such features fails.
    """
    results = EvaluationResults(
        plan=plan, answers=answers, spending=spending, failed_before=failed_before
    )
    compared = measures(results)
    judgement = _judge(results, compared)
    headline = tuple(scores(results, role, version) for role, version in results.roles)
    now, untouched = headline[0].zero_shot, headline[2].zero_shot
    matrix = accuracy_matrix(results, previous)
    candidate, parent, root = plan.candidate, plan.parent, plan.root
    live, unguarded = plan.live, unguarded_in(plan)
    return Report(
        model=plan.model.name,
        version=candidate.number,
        digest=candidate.digest,
        parent=parent.number,
        parent_digest=parent.digest,
        root=root.number,
        root_digest=root.digest,
        live=live.number if live else None,
        live_digest=live.digest if live else None,
        suites={suite.id: suite.name for suite in plan.suites},
        recipe=candidate.recipe.to_json() if candidate.recipe else None,
        dataset=candidate.dataset,
        dataset_version=candidate.dataset_version,
        precision=candidate.precision,
        converted=candidate.is_conversion,
        captions=candidate.taught_captions,
        update_classes=candidate.update_classes,
        classes=candidate.classes,
        prompt=candidate.prompt.text,
        policy=asdict(plan.policy) | {"created_at": plan.policy.created_at.isoformat()},
        verdict=judgement.verdict,
        summary=summarise(
            candidate.update_classes,
            judgement,
            plan.policy.minimum_count,
            unguarded,
            worse_classes(results),
            captions=candidate.taught_captions,
        ),
        reasons=judgement.reasons,
        unguarded=unguarded,
        measures=judgement.measures,
        lost_classes=judgement.lost_classes,
        scores=headline,
        retention=now / untouched if now is not None and untouched else None,
        zero_shot_change=None if now is None or untouched is None else now - untouched,
        transfer=transfer(results, matrix),
        tasks=tasks(results),
        matrix=matrix,
        changes=tuple(changes(results)),
        lists=tuple(list_scores(results)),
        taken=tuple(taken(results)),
        recalls=tuple(recall_rows(results)),
        budgets=tuple(budget_use(compared, plan.policy)),
        grown=tuple(_grown(results)),
        unlabelled=tuple(one.name for one in plan.unlabelled),
        to_label=judgement.to_label,
        judged_before=judged_before,
        near_duplicates=near_duplicates,
        images=_images(plan),
        reference=asdict(candidate.reference) if candidate.reference else None,
        notes=dict(candidate.notes),
        environments=candidate.environments,
        exact=candidate.exact,
        rejection=results.calibration,
    )


@dataclass(frozen=True, kw_only=True)
class BesideVerdict:
    """The verdict on a candidate as the replacement of one version."""

    beside: int
    verdict: Verdict
    images: int  # test images that were judged, and labels of unlabelled ones
    holdouts: tuple[SuiteId, ...]  # the images that were added to holdouts
    updates: tuple[int, ...] = ()  # what it was asked about though it lacks them


def verdicts_beside(
    plan: EvaluationPlan,
    answers: AnswersByQuery,
    report: Report,
    *,
    spending: Mapping[Digest, Spending],
    failed_before: frozenset[int] = frozenset(),
) -> tuple[BesideVerdict, ...]:
    """Return the verdicts that an evaluation gives: beside the parent and beside the live version.

    That beside the parent leaves out what only the comparison with another live version judges. As
    the parent is not live there, its losses are the candidate's: otherwise the child of a version
    that failed could go live where nothing is.
    That beside the live version, if it is not the parent, is the one of the report.
    """
    parent, live = plan.parent.number, plan.live
    whole = BesideVerdict(
        beside=parent if live is None else live.number,
        verdict=report.verdict,
        images=judged_images(plan),
        holdouts=plan.added,
        updates=tuple(one.number for one in plan.lost),
    )
    if whole.beside == parent:
        return (whole,)
    alone = plan.beside_parent
    results = EvaluationResults(
        plan=alone, answers=answers, spending=spending, failed_before=failed_before
    )
    judgement = _judge(results, measures(results))
    beside_parent = BesideVerdict(
        beside=parent,
        verdict=judgement.verdict,
        images=judged_images(alone),
        holdouts=alone.added,
    )
    return beside_parent, whole


def _judge(results: EvaluationResults, compared: Sequence[Measure]) -> Judgement:
    """Return the judgement; what has failed beside the parent has failed everywhere."""
    plan = results.plan
    beside = {plan.parent.number, plan.live.number if plan.live else plan.parent.number}
    return judge(
        compared,
        plan.policy,
        tuple(_faults(results)),
        class_losses(results),
        to_label=tuple(to_label(results)),
        converted=plan.candidate.is_conversion,
        failed_before=not beside.isdisjoint(results.failed_before),
    )


def _faults(results: EvaluationResults) -> Iterator[str]:
    for version, queries in results.plan.questions:
        broken = results.not_finite(version)
        if not broken:
            continue
        if version.digest != results.plan.candidate.digest:
            raise AnswersNotFinite(
                f"The features of version {version.number}, which the candidate is compared with, "
                "contain NaN or infinity, so the comparison is impossible.",
                version=version.number,
            )
        yield (
            f"The version's features contain NaN or infinity in {broken} of {len(queries)} "
            "evaluations, so it cannot be used. Images with such features count as wrong below."
        )


def _images(plan: EvaluationPlan) -> dict[str, int]:
    exams: list[Exam] = [*plan.zero_shot, *plan.retrieval, *plan.unlabelled]
    exams += [holdout.exam for holdout in (*plan.holdouts, *plan.live_holdouts)]
    exams += [holdout.exam for holdout in (*plan.captioned, *plan.live_captioned)]
    return {exam.name: len(exam.own.entries) for exam in exams}


def judged_images(plan: EvaluationPlan) -> int:
    """Return the test images that an evaluation judges, and the labels of unlabelled ones."""
    return sum(_images(plan).values()) + sum(len(one.labels) for one in plan.unlabelled)


def _grown(results: EvaluationResults) -> Iterator[GrownImages]:
    """Yield the test images that have grown, those of all other updates' holdouts together."""
    plan = results.plan
    exams: list[Exam] = [*plan.zero_shot, *plan.retrieval, *plan.unlabelled]
    for exam in exams:
        spent = results.spending.get(exam.own.digest, Spending())
        images = len(exam.own.entries)
        if spent.seen:
            yield GrownImages(
                name=exam.name, images=images, seen=spent.seen, look=spent.look, common=images
            )
    if plan.added:
        spent = results.spending.get(plan.kept[0].exam.own.digest, Spending())
        yield GrownImages(
            name="holdouts",
            images=_count(one.exam for one in plan.kept),
            seen=spent.seen,
            look=spent.look,
            common=_count(one.common for one in plan.kept if one.common),
        )


def _count(exams: Iterable[ClassEvaluation]) -> int:
    return len({entry.pixels for exam in exams for entry in exam.own.entries})


# The measures: every paired comparison that the gate judges.


def measures(results: EvaluationResults) -> list[Measure]:
    """Return all measures of an evaluation.

    These compare suites and other updates' holdouts with versions that the candidate may replace
    and with versions further back, and the own holdout with the parent (the gain).
    """
    return [m for one in comparisons(results.plan) for m in _measured(results, one)]


def _measured(results: EvaluationResults, comparison: Comparison) -> Iterator[Measure]:
    """Yield the measure of all answers and, if the policy limits flips, of formerly right ones.

    Of an unlabelled suite it is unknown which answers were right.
    """
    (exam, version), *_ = comparison.pairs
    if isinstance(exam, UnlabelledEvaluation):
        spending = vars(_spending(results, comparison))
        yield from estimated(results, comparison, exam, version, **spending)
        return
    policy, hits = results.plan.policy, results.paired(comparison)
    limit = policy.negative_flips
    measured = [(hits, comparison.tolerance, False)]
    if limit is not None and _limits_flips(comparison) and any(hits.before):
        measured.append((hits.formerly_right, limit, True))
    live_difference = _live_difference(results, comparison)
    spent = _spending(results, comparison)
    level = spent.level or policy.alpha
    is_soft = comparison.kind is not MeasureKind.GAIN and _has_to_hold(comparison)
    every_image = _on_every_image(results, comparison)
    others = untaught(results, comparison, level)
    of_classes = comparison.kind is MeasureKind.GAIN and not comparison.is_of_captions
    for compared, tolerance, formerly_right in measured:
        yield Measure.of(
            comparison.kind,
            name=comparison.name,
            baseline=comparison.baseline,
            baseline_version=comparison.version,
            tolerance=tolerance,
            images=comparison.images,
            distinct=compared.distinct,
            now=compared.now,
            before=compared.before,
            design_effect=compared.design_effect(level),
            alpha=policy.alpha,
            minimum_count=policy.minimum_count,
            pooled=comparison.pooled,
            live_difference=None if formerly_right else live_difference,
            asked=comparison.asked,
            own_prompts=comparison.own_prompts,
            classes=comparison.choices(results.meanings),
            both_directions=comparison.kind is MeasureKind.GAIN and comparison.is_of_captions,
            depth=comparison.depth,
            formerly_right=formerly_right,
            soft=compared.soft_flips(level) if is_soft else None,
            editions=tuple(compared.earlier_editions(level)) if is_soft else (),
            untaught=None if formerly_right else others,
            every_image=None if formerly_right else every_image,
            class_mean=mean_change(results, comparison) if of_classes else None,
            by_one_answer=results.by_one_answer(comparison, compared),
            **vars(spent),
        )


def _on_every_image(results: EvaluationResults, comparison: Comparison) -> float | None:
    """Return the change over all images, if some are near-duplicates, of which one alone counts.

    Of pictures by a fixed camera there are few groups, in which one answer may stand for hundreds.
    """
    exams = [exam for exam, _ in comparison.pairs]
    own = [one.exam for one in (results.plan.own, results.plan.own_captions) if one]
    in_pool = comparison.pooled and not any(exam in own for exam in exams)
    if in_pool or not _has_to_hold(comparison):
        return None
    candidate = results.plan.candidate
    if comparison.is_of_captions:
        ways = [results.found_on_each(comparison, candidate, way) for way in comparison.directions]
        hits = together(hits for found in ways for _, hits in found)
        images = len({entry.pixels for query, _ in ways[0] for entry in query.entries})
        change = (sum(hits.now) - sum(hits.before)) / len(hits.now)
        return change if images > hits.distinct else None
    changes: dict[tuple[Digest, str], int] = {}
    groups: set[Digest] = set()
    for query, hits in results.on_each(comparison, candidate):
        for entry, truth, now, before in zip(
            query.entries, query.truths, hits.now, hits.before, strict=True
        ):
            changes[entry.pixels, truth] = now - before
            groups.add(entry.group)
    return sum(changes.values()) / len(changes) if len(changes) > len(groups) else None


def _live_difference(results: EvaluationResults, comparison: Comparison) -> float | None:
    """Return the difference of the live version in a cumulative comparison, if it has one."""
    live = results.live_in(comparison)
    if live is None:
        return None
    hits = results.paired(comparison, live)
    return (sum(hits.now) - sum(hits.before)) / len(hits.now)


def _has_to_hold(one: Comparison) -> bool:
    """Return whether a loss has to be ruled out there: see `Measure.only_fails`."""
    return one.asked is not ClassList.DEFAULT and one.depth == 1


def _limits_flips(compared: Comparison | Measure) -> bool:
    """Return whether a policy's limit of negative flips is about a comparison.

    It is about suites over their own list, and captions, and not against the root or a settled
    version: the limit is for one update, and people notice what differs from the version that they
    had before it.
    """
    own = compared.kind in SUITES and compared.asked is ClassList.OWN and compared.depth == 1
    return own and compared.baseline not in {ROOT, SETTLED}


@dataclass(frozen=True, kw_only=True)
class _Spent:
    """The error that a measure spends, of the version's looks and of the line's budget, if any."""

    verdicts: int | None = None
    luck: float = 1.0
    look: int = 1
    level: float | None = None


def _spending(results: EvaluationResults, comparison: Comparison) -> _Spent:
    """Return the verdict and the look by the most used of a comparison's images, and its level.

    A gain does not spend, as both are for forgetting, and has an error of its own.
    """
    policy = results.plan.policy
    if comparison.kind is MeasureKind.GAIN:
        return _Spent(level=policy.gain_error)
    found = [results.spending.get(exam.own.digest, Spending()) for exam, _ in comparison.pairs]
    most = Spending(
        verdict=max(one.verdict for one in found),
        luck=max(one.luck for one in found),
        look=max(one.look for one in found),
    )
    return _Spent(
        verdicts=most.verdict if policy.budget else None,
        luck=most.luck,
        look=most.look,
        level=policy.level_of(most),
    )


# The same measures under another policy.


def judge_again(report: Report, policy: GatePolicy) -> Judgement:
    """Return the judgement on a report's measures, as if this policy had been the gate's.

    Bounds are computed anew from the counts. For a budget where the report's policy had none, the
    verdicts before it are the candidates that the same suites have judged. The design effect of
    captions is that of the report. Formerly right answers are taken to be of
    as large a share of the images. Of single classes, those count that the report names.
    """
    failing = report.lost_classes or any(
        ruling.outcome is Outcome.FAILS for ruling in report.measures
    )
    faults = report.reasons if report.verdict is Verdict.FAILED and not failing else ()
    measures = [
        again
        for ruling in report.measures
        if not ruling.formerly_right
        for again in _again(ruling, policy, report.judged_before + 1)
    ]
    return judge(
        measures,
        policy,
        faults,
        report.lost_classes,
        to_label=report.to_label,
        converted=report.converted,
    )


def _again(measure: Measure, policy: GatePolicy, verdict: int) -> Iterator[Measure]:
    """Yield a measure under a policy, and that of its negative flips if the policy limits them."""
    number = measure.verdicts or verdict
    spending = Spending(verdict=number, luck=measure.luck, look=measure.look)
    spends = measure.kind is not MeasureKind.GAIN
    shared = measure.disagreements.level_share if measure.disagreements else 1.0
    found = replace(
        measure,
        tolerance=policy.tolerance(measure),
        verdicts=number if spends and policy.budget else None,
        level=policy.level_of(spending) * shared if spends else policy.gain_error,
        soft=measure.soft if policy.judged_views else None,
        editions=measure.editions if policy.judged_views else _without_views(measure.editions),
        untaught=measure.untaught
        and replace(measure.untaught, soft=measure.untaught.soft if policy.judged_views else None),
    )
    yield found.bounded(policy.alpha, policy.minimum_count)
    all_known = measure.disagreements is None and measure.right_before
    if policy.negative_flips is not None and _limits_flips(measure) and all_known:
        flips = replace(
            found,
            tolerance=policy.negative_flips,
            count=found.right_before,
            distinct=max(1, found.distinct * found.right_before // found.count),
            right=found.right_before - found.lost,
            gained=0,
            difference=-found.lost / found.right_before,
            formerly_right=True,
            soft=None,
            editions=(),
            untaught=None,
        )
        yield flips.bounded(policy.alpha, policy.minimum_count)


def _without_views(editions: Iterable[Edition]) -> tuple[Edition, ...]:
    return tuple(
        replace(one, earlier=replace(one.earlier, soft=None), added=replace(one.added, soft=None))
        for one in editions
    )
