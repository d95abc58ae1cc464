"""Predictions: each counts once, in whichever order its label and the candidate's answer come."""

from collections import Counter
from itertools import permutations

import pytest

from core.errors import PredictionLabelled
from core.trials.rules import (
    COUNTS,
    Arm,
    Prediction,
    Shadowed,
    TrialCounts,
    TrialMode,
    TrialVerdict,
    evidence_of,
    tally,
)
from tests.support.factories import a_prediction


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
        ("bag", "boot", {"disagreed", "right_current", "lost"}),
        ("bag", "Bag", {"disagreed", "right_candidate", "gained"}),
        ("bag", "hat", {"disagreed"}),
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
