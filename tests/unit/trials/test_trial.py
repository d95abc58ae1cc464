"""Trials: which versions may be tried, who is asked, and how a trial ends."""

from collections import Counter
from dataclasses import replace
from itertools import permutations

import pytest

from core.errors import (
    ArtifactGone,
    FieldInvalid,
    LearnedErasedImages,
    PerennialError,
    PredictionLabelled,
    TrialEnded,
)
from core.gate.rules import Verdict
from core.registry.versions import Version
from core.trials.rules import (
    COUNTS,
    Arm,
    Prediction,
    Shadowed,
    TrialCounts,
    TrialEnd,
    TrialMode,
    TrialVerdict,
    evidence_of,
    labels_of,
    next_point,
    require_share,
    require_trial,
    tally,
)
from core.values import ErasureId, PredictionId, TrialId
from tests.support.factories import NOW, a_job, a_model, a_policy, a_prediction, a_trial, a_version

KEYS = [f"key {number}" for number in range(4000)]


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_share_of_the_keys_goes_to_the_candidate_and_always_the_same_ones(share: float) -> None:
    trial = a_trial(mode=TrialMode.CANARY, share=share)
    arms = [trial.arm_of(key) for key in KEYS]
    assert arms.count(Arm.CANDIDATE) / len(KEYS) == pytest.approx(share, abs=0.03)
    assert [trial.arm_of(key) for key in KEYS] == arms
    other = replace(trial, id=TrialId("trial_other"))
    both = [key for key in KEYS if trial.arm_of(key) == other.arm_of(key) == Arm.CANDIDATE]
    assert len(both) / len(KEYS) == pytest.approx(share**2, abs=0.03)


def test_a_shadow_never_answers() -> None:
    trial = a_trial(mode=TrialMode.SHADOW, share=None)
    assert {trial.arm_of(key) for key in KEYS[:50]} == {Arm.CURRENT}


def test_a_trial_that_has_ended_does_not_run() -> None:
    a_trial().require_running()
    with pytest.raises(TrialEnded):
        replace(a_trial(), end=TrialEnd.STOPPED).require_running()


@pytest.mark.parametrize(
    ("mode", "share", "allowed"),
    [
        (TrialMode.CANARY, 0.5, True),
        (TrialMode.CANARY, 1e-6, True),
        (TrialMode.CANARY, 0.51, False),
        (TrialMode.CANARY, 0.0, False),
        (TrialMode.CANARY, float("nan"), False),
        (TrialMode.CANARY, None, False),
        (TrialMode.SHADOW, None, True),
        (TrialMode.SHADOW, 0.1, False),
    ],
)
def test_a_canary_takes_a_share_of_up_to_a_half_and_a_shadow_none(
    mode: TrialMode, share: float | None, allowed: bool
) -> None:
    if allowed:
        require_share(mode, share)
        return
    with pytest.raises(FieldInvalid):
        require_share(mode, share)


@pytest.fixture
def current() -> Version:
    return a_version(a_job(a_model(a_policy())), 1)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"verdict": Verdict.FAILED}, None),
        ({"collected_at": NOW}, ArtifactGone),
        ({"erasure": ErasureId("era_1")}, LearnedErasedImages),
        ({"digest": None}, FieldInvalid),
    ],
)
def test_whatever_has_weights_of_its_own_may_be_a_shadow(
    current: Version, changes: dict[str, object], refusal: type[PerennialError] | None
) -> None:
    if changes.get("digest", "") is None:
        changes = changes | {"digest": current.digest}
    job = a_job(a_model(a_policy()))
    candidate = replace(a_version(job, 2, parent=1), **changes)  # type: ignore[arg-type]
    if refusal is None:
        require_trial(current=current, candidate=candidate)
        return
    with pytest.raises(refusal):
        require_trial(current=current, candidate=candidate)


# ---- Predictions ---------------------------------------------------------------------------


@pytest.mark.parametrize("arm", list(Arm))
@pytest.mark.parametrize(("label", "right"), [("boot", 1), ("BOOT", 1), ("bag", 0)])
def test_a_canarys_answer_counts_for_its_arm(arm: Arm, label: str, right: int) -> None:
    made = a_prediction(mode=TrialMode.CANARY, arm=arm, answer="Boot")
    assert tally(made) == {f"answered_{arm}": 1}
    found = tally(made.labelled(label))
    assert found == Counter(
        {f"answered_{arm}": 1, f"labelled_{arm}": 1} | ({f"right_{arm}": 1} if right else {})
    )
    assert set(found) <= set(COUNTS)


@pytest.mark.parametrize(
    ("shadow", "label", "counts"),
    [
        ("boot", "boot", {"agreed", "right_current", "right_candidate"}),
        ("Boot", "bag", {"agreed"}),
        ("bag", "boot", {"disagreed", "labelled_disagreed", "right_current", "lost"}),
        ("bag", "Bag", {"disagreed", "labelled_disagreed", "right_candidate", "gained"}),
        ("bag", "hat", {"disagreed", "labelled_disagreed"}),
    ],
)
def test_a_shadow_counts_pairs_in_either_order(shadow: str, label: str, counts: set[str]) -> None:
    both = {"answered_current", "answered_candidate", "labelled_current", "labelled_candidate"}

    def asked(one: Prediction) -> Prediction:
        return one.shadowed_by(shadow, Shadowed.ANSWERED)

    for steps in permutations([asked, lambda one: one.labelled(label)]):
        made = a_prediction(mode=TrialMode.SHADOW, answer="boot")
        assert tally(made) == {"answered_current": 1}
        for step in steps:
            made = step(made)
        assert tally(made) == dict.fromkeys(both | counts, 1)


def test_accuracies_of_a_shadow_weigh_agreements_and_disagreements_by_their_shares() -> None:
    counted = TrialCounts(agreed=900, disagreed=100, labelled_disagreed=75, gained=52, lost=12)
    only = replace(
        counted, labelled_current=75, labelled_candidate=75, right_current=12, right_candidate=52
    )
    assert [only.accuracy(TrialMode.SHADOW, arm) for arm in Arm] == [None, None]
    more = replace(
        only, labelled_current=95, labelled_candidate=95, right_current=30, right_candidate=70
    )
    right = [0.9 * 18 / 20 + 0.1 * alone / 75 for alone in (12, 52)]
    assert [more.accuracy(TrialMode.SHADOW, arm) for arm in Arm] == pytest.approx(right)
    estimate = evidence_of(TrialMode.SHADOW, more).estimate
    assert estimate == pytest.approx(right[1] - right[0]) == pytest.approx(0.1 * 40 / 75)
    assert TrialCounts().accuracy(TrialMode.SHADOW, Arm.CURRENT) is None
    agreeing = TrialCounts(agreed=9, labelled_current=4, labelled_candidate=4, right_current=3)
    assert agreeing.accuracy(TrialMode.SHADOW, Arm.CURRENT) == pytest.approx(0.75)


def test_disagreements_without_a_label_have_a_turn() -> None:
    made = a_prediction(mode=TrialMode.SHADOW, answer="boot")
    asked = made.shadowed_by("bag", Shadowed.ANSWERED)
    assert asked.turn == replace(asked, answer="hat").turn  # it does not tell the answers
    assert asked.turn != replace(asked, id=PredictionId("pred_other")).turn
    for none in (
        made,
        asked.labelled("hat"),
        made.shadowed_by("BOOT", Shadowed.ANSWERED),
        made.shadowed_by(None, Shadowed.DROPPED),
    ):
        assert none.turn is None


@pytest.mark.parametrize("outcome", [Shadowed.DROPPED, Shadowed.FAILED])
def test_a_label_without_a_second_answer_makes_no_pair(outcome: Shadowed) -> None:
    made = a_prediction(mode=TrialMode.SHADOW).labelled("boot").shadowed_by(None, outcome)
    assert tally(made) == {"answered_current": 1, outcome.value: 1}
    assert tally(made.shadowed_by("boot", Shadowed.ANSWERED)) == tally(made)  # the first counts


def test_the_first_label_stays() -> None:
    made = a_prediction(answer="boot").labelled("Boot")
    assert made.labelled("boot") == made
    with pytest.raises(PredictionLabelled):
        made.labelled("bag")


def counts(current: int, candidate: int, *, gained: int, lost: int) -> TrialCounts:
    """Of 300 labels for each version, so many say that it was right."""
    return TrialCounts(
        labelled_current=300,
        labelled_candidate=300,
        right_current=current,
        right_candidate=candidate,
        agreed=200,
        disagreed=100,
        labelled_disagreed=100,
        gained=gained,
        lost=lost,
    )


@pytest.mark.parametrize("mode", list(TrialMode))
def test_the_verdict_follows_the_labels(mode: TrialMode) -> None:
    better = counts(200, 270, gained=75, lost=5)
    for counted, verdict in (
        (TrialCounts(), TrialVerdict.UNDECIDED),
        (counts(200, 200, gained=0, lost=0), TrialVerdict.UNDECIDED),
        (better, TrialVerdict.BETTER),
        (counts(270, 200, gained=5, lost=75), TrialVerdict.WORSE),
    ):
        assert evidence_of(mode, counted).verdict is verdict
    assert evidence_of(mode, TrialCounts()).estimate is None
    assert evidence_of(mode, better).estimate == pytest.approx(70 / 300)


# ---- The course of a trial -----------------------------------------------------------------


SHADOW = a_trial(mode=TrialMode.SHADOW, share=None)

PAIRS = TrialCounts(
    agreed=300,
    disagreed=100,
    labelled_current=120,
    labelled_candidate=120,
    labelled_disagreed=100,
    gained=60,
    lost=20,
)


def test_a_point_says_what_the_labels_say() -> None:
    point = next_point(SHADOW, PAIRS, NOW)
    evidence = evidence_of(TrialMode.SHADOW, PAIRS)
    assert point is not None
    assert (point.trial, point.labels, point.at) == (SHADOW.id, 100, NOW)
    assert point.estimate == evidence.estimate
    assert (point.lower, point.upper) == (evidence.interval.lower, evidence.interval.upper)


def test_points_come_with_growing_labels() -> None:
    assert next_point(SHADOW, PAIRS, NOW, last=80) is not None
    assert next_point(SHADOW, PAIRS, NOW, last=81) is None
    assert next_point(SHADOW, PAIRS, NOW, last=99, growth=1.0) is not None
    assert next_point(SHADOW, PAIRS, NOW, last=100, growth=1.0) is None
    assert next_point(SHADOW, TrialCounts(), NOW) is None


def test_of_a_canary_the_labels_of_both_versions_count_and_both_need_one() -> None:
    canary = a_trial(mode=TrialMode.CANARY)
    one_sided = TrialCounts(labelled_current=3, right_current=2)
    assert labels_of(canary, one_sided) == 3
    assert next_point(canary, one_sided, NOW) is None
    both = replace(one_sided, labelled_candidate=1)
    point = next_point(canary, both, NOW)
    assert point is not None
    assert point.labels == 4
