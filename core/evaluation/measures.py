"""The measures of an evaluation: all paired comparisons that the gate judges."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, groupby
from math import sqrt

from core.datasets.manifests import ManifestEntry
from core.evaluation.class_losses import class_mean, class_parts, joined_losing, losing
from core.evaluation.comparison import Comparison
from core.evaluation.comparisons import comparisons
from core.evaluation.estimates import estimated
from core.evaluation.exams import ClassExam
from core.evaluation.other_classes import improved_since, other_classes, show_no_gain
from core.evaluation.paired_hits import PairedHits
from core.evaluation.queries import searches
from core.evaluation.results import EvaluationResults
from core.evaluation.unlabelled import UnlabelledExam
from core.gate.changes import Edition, Losing, surely
from core.gate.guards import can_show_a_loss
from core.gate.kinds import ROOT, SETTLED, SUITES, ClassList, MeasureKind
from core.gate.levels import Spending
from core.gate.measures import Measure
from core.values import Digest


def measures(results: EvaluationResults) -> list[Measure]:
    """Return all measures of an evaluation.

    These compare suites and other updates' holdouts with versions that the candidate may replace
    and with versions further back, and the own holdout with the parent (the gain).
    """
    compared = [*comparisons(results.plan)]
    joined = [*joined_losing(results, compared)]
    found: list[Measure] = []
    for one in compared:
        found += _measured(results, one, [worst for first, worst in joined if first is one])
    showing = [one for one in found if can_show_a_loss(one)]
    limited = {one.name for one in showing if one.tolerance < 1}
    uncounted = _uncounted(results, {one.name: one.name in limited for one in showing})
    return [
        replace(one, uncounted=uncounted.get(one.name, 0)) if one.is_of_suite else one
        for one in found
    ]


def _uncounted(results: EvaluationResults, showing: Mapping[str, bool]) -> dict[str, int]:
    """Return how many groups of near-duplicates of each suite do not count for it.

    A suite before it has them, too: near-duplicates are known across datasets, so these are one
    image in several suites as in one. Or they show classes that have improved. Of what is left,
    twice as many count as the parent or the root was right about: where both were wrong, nothing
    can be lost. `showing` are the suites that can show a loss, and whether that has a limit: where
    all may be lost, nobody asks what was right.
    """
    uncounted: dict[str, int] = {}
    before: set[Digest] = set()
    for exam in results.plan.suite_exams:
        if exam.name in showing:
            groups = {entry.group for entry in exam.own.entries}
            own = groups - before
            most = len(own)
            if isinstance(exam, ClassExam):
                own &= _not_improved(results, exam)
                most = 2 * len(own & _known(results, exam)) if showing[exam.name] else most
            uncounted[exam.name] = len(groups) - min(len(own), most)
            before |= own
    return uncounted


def _known(results: EvaluationResults, exam: ClassExam) -> set[Digest]:
    """Return the groups of a suite about which the parent or the root was right."""
    right = (results.hits(one, exam.own) for one in (results.plan.parent, results.plan.root))
    return {entry.group for entry in compress(exam.own.entries, map(any, zip(*right, strict=True)))}


def _not_improved(results: EvaluationResults, exam: ClassExam) -> set[Digest]:
    """Return the groups of a suite that show a class which the line has not improved.

    Neither by the images that its updates held out nor, of a class that it has learned, by the
    other images of the suite: few held-out images, or a short list, may show no gain. Captions may
    have taught any class.
    """
    plan, query = results.plan, exam.own
    improved = improved_since(results, plan.root)
    taught = {name.lower() for name in plan.candidate.classes}
    taught -= {name.lower() for name in plan.root.classes}
    learned = {results.meanings.get(name, name) for name in taught}
    names = [results.meanings.get(one, one) for one in query.truths]
    answers = results.hits(plan.candidate, query), results.hits(plan.root, query)
    changes = [now - before for now, before in zip(*answers, strict=True)]
    kept = zip(query.entries, names, show_no_gain(names, changes), strict=True)
    return {
        entry.group
        for entry, name, none in kept
        if name not in improved and (none or not (plan.captioned or name in learned))
    }


def _measured(
    results: EvaluationResults, comparison: Comparison, joined: Sequence[Losing]
) -> Iterator[Measure]:
    """Yield the measure of all answers and, if the policy limits flips, of formerly right ones.

    Of an unlabelled suite it is unknown which answers were right. `joined` is what classes lose
    that several suites or holdouts show, of which this one is the first.
    """
    (exam, version), *_ = comparison.pairs
    if isinstance(exam, UnlabelledExam):
        spending = vars(_spending(results, comparison))
        yield from estimated(results, comparison, exam, version, **spending)
        return
    policy, hits = results.plan.policy, results.paired(comparison)
    limit = policy.negative_flips
    measured = [(hits, comparison.tolerance, False)]
    if limit is not None and limits_flips(comparison) and any(hits.before):
        measured.append((hits.formerly_right, limit, True))
    live_difference = _live_difference(results, comparison)
    spent = _spending(results, comparison)
    level = spent.level or policy.alpha
    is_soft = comparison.kind is not MeasureKind.GAIN and _has_to_hold(comparison)
    every_image = _on_every_image(results, comparison)
    others = other_classes(results, comparison, level)
    alone = results.in_own_galleries(comparison) if comparison.asked is ClassList.OWN else {}
    by_class = class_parts(results, comparison)
    in_the_mean = class_mean(results, comparison, by_class, others.parts)
    by_some = losing(results, comparison, by_class, joined)
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
            may_guard=comparison.may_guard,
            live_difference=None if formerly_right else live_difference,
            asked=comparison.asked,
            own_prompts=comparison.own_prompts,
            classes=comparison.choices(results.meanings),
            both_directions=comparison.kind is MeasureKind.GAIN and comparison.is_of_captions,
            depth=comparison.depth,
            formerly_right=formerly_right,
            soft=compared.soft_flips(level) if is_soft else None,
            editions=_editions(compared, level, {} if formerly_right else alone) if is_soft else (),
            untaught=None if formerly_right else others.untaught,
            ungained=None if formerly_right else others.ungained,
            every_image=None if formerly_right else every_image,
            class_mean=None if formerly_right else in_the_mean,
            losing=None if formerly_right else by_some,
            by_one_answer=results.by_one_answer(comparison, compared),
            **vars(spent),
        )


def _editions(
    hits: PairedHits, level: float, alone: Mapping[int, PairedHits]
) -> tuple[Edition, ...]:
    """Return the editions before the newest, of a captioned suite in their own gallery, too.

    Clearer pictures that are added would be found first, whatever a version has lost before.
    """
    return tuple(
        replace(one, alone=alone[one.number].changes(level)) if one.number in alone else one
        for one in hits.earlier_editions(level)
    )


def _on_every_image(results: EvaluationResults, comparison: Comparison) -> float | None:
    """Return the change over all images; None if none are near-duplicates, of which one counts.

    Of pictures by a fixed camera there are few groups, in which one answer may stand for hundreds.
    What was added may hide what is lost on the others, so it is what the change over those of an
    earlier edition surely does not exceed, if that is worse.
    """
    exams = [exam for exam, _ in comparison.pairs]
    own = [one.exam for one in (results.plan.own, results.plan.own_captions) if one]
    in_pool = comparison.pooled and not any(exam in own for exam in exams)
    if in_pool or not _has_to_hold(comparison):
        return None
    images, by_group = set[tuple[Digest, str]](), Counter[Digest]()
    found, count = list[tuple[float, float]](), 0
    answers = sorted(_on_each_image(results, comparison), key=lambda one: one[0].edition)
    for _, added in groupby(answers, key=lambda one: one[0].edition):
        for entry, truth, change in added:
            images.add((entry.pixels, truth))
            by_group[entry.group] += change
            count += 1
        if len(images) > len(by_group):
            deviation = sqrt(sum(change**2 for change in by_group.values()))
            found.append((by_group.total() / count, deviation / count))
    if not found:
        return None
    *earlier, (whole, _) = found
    z = surely(pooled=comparison.pooled)
    return min([whole, *(mean + z * deviation for mean, deviation in earlier)])


def _on_each_image(
    results: EvaluationResults, comparison: Comparison
) -> Iterator[tuple[ManifestEntry, str, int]]:
    """Yield the image, the class and the change of each answer, of captions in all directions.

    What several updates teach by the same class counts once, as the last of them has it.
    """
    candidate = results.plan.candidate
    if comparison.is_of_captions:
        for way in comparison.directions:
            for gallery, hits in results.found_on_each(comparison, candidate, way):
                for (place, _), change in zip(searches(gallery, way), hits.changed, strict=True):
                    yield gallery.entries[place], "", change
        return
    found: dict[tuple[Digest, str], tuple[ManifestEntry, str, int]] = {}
    for query, hits in results.on_each(comparison, candidate):
        for entry, truth, change in zip(query.entries, query.truths, hits.changed, strict=True):
            found[entry.pixels, truth] = entry, truth, change
    yield from found.values()


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


def limits_flips(compared: Comparison | Measure) -> bool:
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
    queries = [exam.own.digest for exam, _ in comparison.pairs]
    if comparison.kind in SUITES:  # by default, fewer of the same images are asked about
        suites = {exam.name: exam.own.digest for exam in results.plan.suite_exams}
        queries = [suites.get(exam.name, exam.own.digest) for exam, _ in comparison.pairs]
    found = [results.spending.get(query, Spending()) for query in queries]
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
