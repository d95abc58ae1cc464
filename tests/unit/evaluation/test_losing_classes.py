"""Small gains of most classes hide no loss of the others."""

import pytest

from core.datasets.rules import SuiteKind
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.plan import plan_queries
from core.evaluation.queries import EvalQuery
from core.evaluation.report import Report
from core.gate.changes import Losing
from core.gate.kinds import ClassList, MeasureKind
from core.gate.rules import Verdict
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    MODEL,
    ROOT,
    entries,
    policy,
    report_of,
    suite,
    taught,
)

CLASSES = 100
SHOWN = entries("shown", [(f"kind {n % CLASSES}",) for n in range(4000)])
OWN = HeldOutUpdate(
    version=taught(ROOT, 2, ("sun", "moon")),
    holdout=entries("own", [("sun",), ("moon",)] * 40),
)


def judged(gain: int, loss: int) -> Report:
    """The report where three of four classes gain and one loses, in points, and 4 % flip anyway."""
    plan = plan_queries(
        model=MODEL,
        policy=policy(minimum_count=350),
        candidate=OWN,
        parent=ROOT,
        root=ROOT,
        earlier=[],
        suites=[suite("things", SHOWN, SuiteKind.ZERO_SHOT)],
    )

    def right(who: Version, query: EvalQuery, index: int) -> bool:
        image, new = query.entries[index], who.number == plan.candidate.number
        if image.texts[0] in {"sun", "moon"}:
            return new or index % 3 == 0
        loses = int(image.class_name.removeprefix("kind ")) % 4 == 0
        drawn = int(image.pixels[:8], 16) % 100
        if drawn < 2 + (0 if loses else gain):
            return new
        return not new or drawn < 98 - (loss if loses else 0)

    return report_of(plan, right)


@pytest.mark.parametrize(
    ("gain", "loss", "verdict"),
    [(0, 0, Verdict.PASSED), (3, 9, Verdict.INCONCLUSIVE)],
    ids=["kept", "lost"],
)
def test_small_gains_of_most_classes_do_not_make_up_for_what_the_others_lose(
    gain: int, loss: int, verdict: Verdict
) -> None:
    report = judged(gain, loss)
    assert report.verdict is verdict
    (own, *_) = report.measures
    assert abs(own.difference) < 0.01
    assert own.losing is not None
    assert own.losing.images < 2400
    assert (own.lower == own.losing.at_most) is own.lost_by_some is bool(loss)
    assert {own.lost_in_classes, own.held_back_by_others} == {False}
    if loss:
        told = f"whose other images show a loss, it is −{-100 * own.losing.mean:.1f} points, and"
        assert told in report.reasons[0]
        assert "what other classes gain does not make up for it." in report.reasons[0]


def test_names_that_overlap_with_learned_classes_may_take_a_class_of_a_suite() -> None:
    asked = {
        one.asked
        for one in judged(3, 9).measures
        if one.losing is not None and one.kind is not MeasureKind.HOLDOUT
    }
    assert asked == {ClassList.OWN}


def test_an_image_does_not_tell_by_itself_that_its_class_loses() -> None:
    bags = [("bag", -1), ("bag", 0), ("bag", 0)]  # of the first, the others show no loss
    hats = [("hat", -1), ("hat", -1), ("hat", 1), ("hat", 0)]  # of the third, they show two
    found = Losing.of([*bags, *hats, ("cup", 1)])
    assert found == Losing(
        images=4, classes=2, mean=1 / 4, at_most=pytest.approx(1 / 4 + 1.6449 / 4, abs=1e-4)
    )
    assert Losing.of([("cup", -1), ("pot", 1)]) is None
