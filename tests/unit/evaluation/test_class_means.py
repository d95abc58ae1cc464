"""A class with many images hides no loss on the others."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from core.datasets.manifests import ManifestEntry
from core.datasets.rules import SuiteKind
from core.evaluation.exams import ScoredSuite
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.plan import EvaluationPlan, plan_queries
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.report import Report
from core.gate.changes import ClassMean
from core.gate.intervals import Flips
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

DEFECTS = ("scratch", "dent", "stain", "crack")


def losing(plan: EvaluationPlan, tenths: int, *, classes: int = 0) -> Report:
    """The report where this version, unlike others, is wrong about so many tenths of defects.

    That is, with at least so many classes to choose from.
    """

    def right(who: Version, query: EvalQuery, index: int) -> bool:
        image, new = query.entries[index], who.number == plan.candidate.number
        if image.texts[0] in {"sun", "moon"} or image.texts[0].startswith("the "):
            return new or index % 3 == 0
        kept = int(image.pixels, 16) % 10 >= tenths
        few = isinstance(query, ClassQuery) and len(query.classes) < classes
        return kept or few or not new or image.class_name not in DEFECTS

    return report_of(plan, right)


def inspected(where: str, ok: int, of_each: int) -> list[tuple[str]]:
    return [("ok",)] * ok + [(name,) for name in DEFECTS for _ in range(of_each)]


SUN_AND_MOON = HeldOutUpdate(
    version=taught(ROOT, 2, ("sun", "moon")),
    holdout=entries("own", [("sun",), ("moon",)] * 40),
)


def a_line(own: HeldOutUpdate, shown: list[tuple[str]]) -> EvaluationPlan:
    """The first update of a model with one suite."""
    return judged_by(own, entries("line", shown))


def judged_by(
    own: HeldOutUpdate, shown: Sequence[ManifestEntry], *more: ScoredSuite
) -> EvaluationPlan:
    """The first update of a model with a suite of these images, and more suites."""
    return plan_queries(
        model=MODEL,
        policy=policy(minimum_count=350),
        candidate=own,
        parent=ROOT,
        root=ROOT,
        earlier=[],
        suites=[suite("line", shown, SuiteKind.ZERO_SHOT), *more],
    )


@pytest.mark.parametrize(
    ("tenths", "verdict"), [(0, Verdict.PASSED), (3, Verdict.INCONCLUSIVE)], ids=["kept", "lost"]
)
def test_rare_classes_of_a_suite_are_not_lost_together_behind_a_frequent_one(
    tenths: int, verdict: Verdict
) -> None:
    """Of 3,900 images 200 show one of four defects: 30 % of these are 1.5 % of all."""
    plan = a_line(SUN_AND_MOON, inspected("line", 3700, 50))
    report = losing(plan, tenths)
    assert report.verdict is verdict
    assert not report.lost_classes
    assert report.measures[0].difference > -0.03
    if tenths:
        assert "In the mean of 5 classes it is −" in report.reasons[0]
        assert "a class with many images hides others." in report.reasons[0]


@pytest.mark.parametrize(
    ("tenths", "verdict"), [(0, Verdict.PASSED), (3, Verdict.INCONCLUSIVE)], ids=["kept", "lost"]
)
def test_rare_classes_are_not_lost_where_a_fixed_camera_shows_them_as_the_frequent_one(
    tenths: int, verdict: Verdict
) -> None:
    """Each picture of a defect is a near-duplicate of one of *ok*, which counts in its place.

    So another suite guards.
    """
    others = suite("other", entries("other", [("cat",), ("dog",)] * 200), SuiteKind.ZERO_SHOT)
    ok, defects = entries("ok", [("ok",)] * 3700), entries("defects", inspected("line", 0, 50))
    alike = tuple(
        replace(one, near_duplicate_of=before.pixels)
        for one, before in zip(defects, ok, strict=False)
    )
    report = losing(judged_by(SUN_AND_MOON, ok + alike, others), tenths)
    assert report.verdict is verdict
    assert {(one.images, one.distinct) for one in report.measures[:1]} == {(3900, 3700)}


@pytest.mark.parametrize(
    ("tenths", "verdict"), [(0, Verdict.PASSED), (3, Verdict.INCONCLUSIVE)], ids=["kept", "lost"]
)
@pytest.mark.parametrize("held_out", [40, 0], ids=["held out", "captions"])
def test_classes_that_gain_do_not_raise_the_mean_of_rare_ones_that_lose(
    held_out: int, tenths: int, verdict: Verdict
) -> None:
    """The suite shows sun and moon, too, of which two thirds are right only now."""
    version = taught(ROOT, 2, ("sun", "moon") if held_out else ())
    own = HeldOutUpdate(
        version=version,
        holdout=entries("own", [("sun",), ("moon",)] * held_out),
        captions=entries("told", [(f"the {n}",) for n in range(0 if held_out else 40)]),
    )
    shown = [*inspected("line", 3700, 50), *[("sun",), ("moon",)] * 100]
    plan = a_line(own, shown)
    report = losing(plan, tenths)
    assert report.verdict is verdict
    assert report.measures[0].difference > 0


@pytest.mark.parametrize(
    ("tenths", "verdict"), [(0, Verdict.PASSED), (7, Verdict.INCONCLUSIVE)], ids=["kept", "lost"]
)
def test_rare_classes_of_an_earlier_update_are_not_lost_behind_its_frequent_one(
    tenths: int, verdict: Verdict
) -> None:
    """Each of the four has ten held-out images, too few for a class to fail by itself."""
    first = taught(ROOT, 2, ("ok", *DEFECTS))
    plan = plan_queries(
        model=MODEL,
        policy=policy(minimum_count=350),
        candidate=HeldOutUpdate(
            version=taught(first, 3, ("sun", "moon")),
            holdout=entries("own", [("sun",), ("moon",)] * 40),
        ),
        parent=first,
        root=ROOT,
        earlier=[HeldOutUpdate(version=first, holdout=entries("first", inspected("", 1000, 10)))],
        suites=[suite("sky", entries("sky", [("ok",), ("sea",)] * 400), SuiteKind.ZERO_SHOT)],
    )
    report = losing(plan, 0)
    assert report.verdict is Verdict.PASSED
    report = losing(plan, tenths)
    assert report.verdict is verdict
    told = [
        one
        for one in report.measures
        if one.kind is MeasureKind.HOLDOUT and one.asked is ClassList.OWN
    ]
    assert all(one.difference > -0.05 for one in told)
    assert {one.lost_in_classes for one in told} == {bool(tenths)}


def test_new_names_do_not_swallow_rare_classes_of_a_suite_behind_a_frequent_one() -> None:
    """Over its own five classes nothing is lost, with sun and moon 40 % of the defects."""
    plan = a_line(SUN_AND_MOON, inspected("line", 3700, 50))
    assert losing(plan, 4, classes=99).verdict is Verdict.PASSED
    report = losing(plan, 4, classes=6)
    assert report.verdict is Verdict.INCONCLUSIVE
    told = {(one.asked, one.lost_in_classes) for one in report.measures if one.name == "line"}
    assert {(ClassList.OWN, False), (ClassList.UNION, True)} <= told


def test_classes_of_hardly_any_images_hide_no_loss_of_others() -> None:
    """Half of the eight with one image gain, half lose; four with 100 lose 25 each."""
    some = [Flips(count=6000, gained=0, lost=0), *[Flips(count=100, gained=0, lost=25)] * 4]
    tail = [Flips(count=1, gained=one, lost=1 - one) for one in (0, 1)] * 4
    assert ClassMean.of([*some, *tail], 1.645).at_most < -0.1


def test_classes_of_one_image_hide_no_loss_of_others_in_the_gain() -> None:
    known = [Flips(count=200, gained=80, lost=0), *[Flips(count=40, gained=0, lost=14)] * 4]
    new = [Flips(count=1, gained=1, lost=0)] * 6
    assert ClassMean.of([*known, *new], 0.0).at_most < 0


def test_a_class_of_one_image_is_not_certain() -> None:
    frequent = Flips(count=500, gained=0, lost=0)
    (one, few) = (
        ClassMean.of([frequent, Flips(count=count, gained=0, lost=count)], 1.645)
        for count in (1, 10)
    )
    assert one.at_most > 0
    assert few.mean == -0.5
    assert few.classes == 2
    assert few.at_most == pytest.approx(-0.5 + 1.645 * (10 / 100) ** 0.5 / 2, abs=1e-3)
