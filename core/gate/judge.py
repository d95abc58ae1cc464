"""The gate: its verdict on a version."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.gate.changes import Changes
from core.gate.classes import ClassLoss, lost_classes
from core.gate.guards import Guarding, is_worn_out
from core.gate.intervals import p_below
from core.gate.kinds import MeasureKind, Outcome
from core.gate.levels import LOOK_SHARES
from core.gate.measures import Measure, Ruling
from core.gate.reasons import FAILED_BEFORE, about_classes, explain
from core.gate.rules import GatePolicy, Verdict
from core.gate.sample_size import images_to_settle


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict, the ruling on each measure, and the reasons in sentences."""

    verdict: Verdict
    measures: tuple[Ruling, ...]
    reasons: tuple[str, ...]
    guarding: Guarding
    lost_classes: tuple[ClassLoss, ...] = ()
    inherited_classes: tuple[ClassLoss, ...] = ()  # of these, those that the live version has lost
    to_label: tuple[str, ...] = ()
    failed_before: bool = False  # by an earlier look, which stands
    converted: bool = False  # to another precision, and taught nothing


def judge(
    measures: Sequence[Measure],
    policy: GatePolicy,
    faults: Sequence[str] = (),
    classes: Iterable[ClassLoss] = (),
    *,
    failed_before: bool = False,
    to_label: Sequence[str] = (),
    converted: bool = False,
) -> Judgement:
    """Return the gate's judgement; `faults` are reasons to fail regardless of the measures.

    `failed_before` says that an earlier look has failed, which more images do not take back, and
    `to_label` which labels unlabelled suites lack: until they are given, nothing passes. A version
    that was `converted` has nothing to gain.

    Passed: every lower bound is within its tolerance, without correction, because all must hold;
    that of the gain reaches the wanted gain, also in the versions' own prompts if these differ; one
    of the measures is a guard (`is_guard`); and suites have images enough, as nothing else asks
    what no update has taught (`Guarding`). Failed: a measure is below its tolerance, by Holm's
    step-down over all measures, of any size; or one of the `classes` has lost more than it alone
    may. Inconclusive: everything else, also when there is no measure of the gain.

    The candidate does not fail for a loss that the live version has itself, against the root or a
    settled version, of a measure or of a single class. It does not pass by itself either: what it
    adds is judged against the live version, and if that were all, a line could lose a little with
    each update for ever.

    If the line has an error budget, each measure's lower bound already has the error that is left
    for this verdict; failing spends nothing.
    """
    below = _below_tolerance(measures, policy.alpha)
    failing = [one for one, part in below if not one.is_inherited(part)]
    tests = sum(len(measure.judged) for measure in measures)
    rulings = tuple(_rule(m, tests, failing, policy) for m in measures)
    kept = [m for m in measures if m.kind is not MeasureKind.GAIN]
    guarding = Guarding.of(kept, policy.minimum_count)
    has_gain = converted or len(kept) < len(measures)
    lost = lost_classes(classes, policy.class_tolerance, policy.alpha)
    inherited = tuple(one for one in lost if one.live_is_beyond(policy.class_tolerance))
    if faults or failing or len(inherited) < len(lost) or failed_before:
        verdict = Verdict.FAILED
    elif (
        guarding.is_enough
        and has_gain
        and not (inherited or to_label)
        and all(m.holds for m in measures)
    ):
        verdict = Verdict.PASSED
    else:
        verdict = Verdict.INCONCLUSIVE
    return Judgement(
        verdict=verdict,
        measures=rulings,
        guarding=guarding,
        failed_before=failed_before,
        converted=converted,
        lost_classes=lost,
        inherited_classes=inherited,
        to_label=tuple(to_label),
        reasons=(
            *faults,
            *([FAILED_BEFORE] if failed_before else []),
            *about_classes(lost, policy.class_tolerance),
            *to_label,
            *explain(
                rulings,
                passed=verdict is Verdict.PASSED,
                guarding=None if to_label else guarding,
                has_gain=has_gain,
                minimum_count=policy.minimum_count,
                worn_out=[m for m in kept if is_worn_out(m, policy.alpha, policy.minimum_count)],
            ),
        ),
    )


def _below_tolerance(
    measures: Sequence[Measure], alpha: float
) -> Sequence[tuple[Measure, Changes]]:
    """Return the measures below tolerance, at family-wise one-sided error `alpha` (Holm, 1979).

    Each comes with the changes that are below it: see `Measure.judged`.
    """
    found = [
        (p_below(part.flips, -measure.tolerance), (measure, part))
        for measure in measures
        for part in measure.judged
    ]
    ordered = sorted(found, key=lambda one: one[0])
    for done, (p_value, _) in enumerate(ordered):
        if p_value >= alpha / (len(ordered) - done):
            ordered = ordered[:done]
            break
    return [one for _, one in ordered]


def _rule(measure: Measure, tests: int, failing: Sequence[Measure], policy: GatePolicy) -> Ruling:
    if measure in failing:
        return Ruling.on(measure, Outcome.FAILS)
    if measure.holds:
        return Ruling.on(measure, Outcome.HOLDS)
    classes = measure.lost_in_classes or measure.lost_by_some or measure.held_back_by_others
    if (
        measure.live_is_beyond or measure.held_back_by or measure.lost_on_copies or classes
    ):  # which more images do not change
        return Ruling.on(measure, Outcome.OPEN)
    level = _level_with_more(measure, policy)
    more = images_to_settle(measure, alpha=policy.alpha, level=level, tests=tests)
    return Ruling.on(measure, Outcome.OPEN, more)


def _level_with_more(measure: Measure, policy: GatePolicy) -> float:
    """Return the error of the lower bound at the next look, if this one counts."""
    if measure.level is None or measure.look > len(LOOK_SHARES):
        return policy.alpha if measure.level is None else 0.0
    if measure.kind is MeasureKind.GAIN or measure.distinct < policy.minimum_count:
        return measure.level
    if measure.disagreements is not None:  # more labels are no other look
        return measure.level
    shares = (*LOOK_SHARES, 0.0)
    return measure.level * shares[measure.look] / shares[measure.look - 1]
