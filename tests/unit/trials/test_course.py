"""The course of a trial has a point whenever its labels have grown by a quarter."""

from dataclasses import replace

from core.trials.rules import TrialCounts, TrialMode, evidence_of, labels_of, next_point
from tests.support.factories import NOW, a_trial

SHADOW = a_trial(mode=TrialMode.SHADOW, share=None)

PAIRS = TrialCounts(
    labelled_current=100, labelled_candidate=100, right_current=70, right_candidate=80, gained=10
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
