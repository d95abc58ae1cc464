"""The first three sentences of a report."""

from dataclasses import replace
from typing import Any

import pytest

from core.evaluation.summary import largest_loss, summarise
from core.gate.judge import judge
from core.gate.kinds import ClassList, MeasureKind
from core.gate.measures import Measure
from core.gate.rules import GatePolicy
from core.values import PolicyId
from tests.support.factories import NOW


def measure(
    name: str,
    *,
    gained: int = 0,
    lost: int = 0,
    right: int = 500,
    images: int = 1000,
    **more: Any,
) -> Measure:
    wrong = images - right - gained - lost
    values: dict[str, Any] = {
        "baseline": "parent",
        "baseline_version": 1,
        "tolerance": 0.03,
        "now": [True] * (right + gained) + [False] * (lost + wrong),
        "before": [True] * right + [False] * gained + [True] * lost + [False] * wrong,
        "alpha": 0.005,
        "minimum_count": 500,
    }
    kind = more.pop("kind", MeasureKind.ZERO_SHOT)
    return Measure.of(kind, name=name, images=images, **values | more)


GAIN = measure("version 2", kind=MeasureKind.GAIN, gained=60, right=20, images=100, tolerance=0.0)


def said(*measures: Measure, classes: tuple[str, ...] = ("bag",), **more: Any) -> list[str]:
    policy = GatePolicy(id=PolicyId("gate_1"), name="default", created_at=NOW)
    judgement = judge(measures, policy, **more)
    return [*filter(None, vars(summarise(classes, judgement, policy.minimum_count)).values())]


def test_what_passed_is_told_by_counts_alone() -> None:
    tiny = measure("tiny", images=1, right=0, lost=1, kind=MeasureKind.HOLDOUT, pooled=True)
    assert said(measure("emoji", gained=4, lost=9), tiny, GAIN) == [
        "It was taught 1 class (bag): of 100 held-out test images it now recognises 80; "
        "version 1 recognised 20.",
        "It lost most on emoji: 504 of 1,000 answers are right; 509 were with version 1.",
        "It may go live: its losses are within the limits, and it learned enough.",
    ]


def test_what_lost_nothing_and_what_nobody_asked() -> None:
    many = tuple("abcdefg")
    taught, lost, _ = said(measure("emoji", gained=9, lost=9), classes=many)
    assert taught == (
        "It was taught 7 classes (a, b, c, d, e, …); no held-out image shows whether it learned "
        "them."
    )
    assert lost.startswith("It lost nothing on balance on suites and earlier holdouts")
    small = measure("version 3", images=80, right=60, lost=2, kind=MeasureKind.HOLDOUT, pooled=True)
    for hidden in (small, replace(small, asked=ClassList.DEFAULT)):
        _, lost, _ = said(measure("emoji", gained=9, lost=9), hidden)
        assert lost.startswith("It lost most on the holdout of version 3")
    taught, lost, _ = said(classes=())
    assert taught == "It was taught no classes."
    assert lost.startswith("Nothing shows what it lost")


def test_the_largest_loss_is_one_that_failed_or_has_images_enough() -> None:
    emoji = measure("emoji", gained=4, lost=9)
    small = measure("version 3", images=80, right=60, lost=2, kind=MeasureKind.HOLDOUT, pooled=True)
    worse = replace(small, lost=40, difference=-0.5).bounded(0.005, 500)
    policy = GatePolicy(id=PolicyId("gate_1"), name="default", created_at=NOW)
    for measures, named in (([emoji, small], "emoji"), ([emoji, worse], "version 3")):
        judged = judge([*measures, GAIN], policy).measures
        found = largest_loss(judged, policy.minimum_count)
        assert found is not None
        assert found.name == named
    assert largest_loss(judge([GAIN], policy).measures, 500) is None


@pytest.mark.parametrize(
    ("measures", "told"),
    [
        ([measure("emoji", lost=300), GAIN], "may not go live: it forgot more than the limits"),
        (
            [measure("emoji", lost=300), measure("emoji", lost=300, asked=ClassList.UNION), GAIN],
            "forgot more than the limits allow; newer classes take more of the earlier ones'",
        ),
        (
            [measure("emoji"), replace(GAIN, gained=0, lost=20)],
            "may not go live: it learned less than it has to.",
        ),
        ([GAIN], "by itself: no suite asks what it was not taught; a person"),
        (
            [measure("emoji")],
            "by itself: no held-out image shows whether it learned what it was taught;",
        ),
        (
            [measure("emoji", lost=30), replace(GAIN, gained=1, lower=-0.1)],
            "it is not certain that its losses are within the limits and that it learned enough;",
        ),
    ],
)
def test_the_last_sentence_says_why_it_does_not_go_live(measures: list[Measure], told: str) -> None:
    assert told in said(*measures)[2]


def test_a_fault_is_told_although_no_measure_fails() -> None:
    assert said(measure("emoji"), GAIN, faults=["NaN."])[2] == (
        "It may not go live: its answers cannot be used."
    )
