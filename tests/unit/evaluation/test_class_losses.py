"""Single classes that a candidate loses, hidden among others."""

from dataclasses import replace

import pytest

from core.datasets.rules import SuiteKind
from core.evaluation.class_losses import class_losses
from core.evaluation.exams import ScoredSuite
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge_again import judge_again
from core.evaluation.plan import EvaluationPlan, LiveLineage
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.report import Report
from core.evaluation.results import EvaluationResults
from core.gate.kinds import ClassList, MeasureKind
from core.gate.rules import Verdict
from core.recipes.fields import PromptTemplate
from core.recipes.rules import distinct
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    EARLIER,
    FIRST,
    ROOT,
    SECOND,
    answered,
    entries,
    learned,
    live_line,
    policy,
    report_of,
    second_update,
    suite,
    taught,
    third_update,
)
from tests.support.factories import digest

WIDE = dict.fromkeys(
    (
        "parent_tolerance",
        "root_tolerance",
        "union_tolerance",
        "holdout_tolerance",
        "settled_tolerance",
        "swallow_tolerance",
        "default_list_tolerance",
    ),
    0.9,
)

HELD_OUT = entries("first", [("bag",), ("shirt",)] * 20)

SUITE = suite("emoji", entries("emoji", [("cat",), ("dog",), ("sun",)] * 20), SuiteKind.ZERO_SHOT)


def losing(
    class_name: str, *, over: ClassList, images: ScoredSuite = SUITE, **changes: float | None
) -> Report:
    """The candidate is wrong about a class over one list of the suite or holdout that has it."""
    plan: EvaluationPlan = second_update(
        policy=policy(**{**WIDE, **changes}),
        suites=[images],
        earlier=[HeldOutUpdate(version=FIRST, holdout=HELD_OUT)],
        candidate=EARLIER[1],
    )
    exams = (plan.zero_shot[0], plan.holdouts[0].exam)
    wrong = {exam.over(over).digest for exam in exams}

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        asked = isinstance(question, ClassQuery) and question.digest in wrong
        return not (asked and who is SECOND and question.entries[index].class_name == class_name)

    return report_of(plan, right)


def test_a_class_that_is_forgotten_within_all_limits_fails_the_version_and_is_named() -> None:
    for name, baselines in (("cat", {1, 2}), ("bag", {2})):
        report = losing(name, over=ClassList.OWN)
        found = {(one.class_name, one.baseline_version) for one in report.lost_classes}
        wanted = {(name, baseline) for baseline in baselines}
        assert (report.verdict, found) == (Verdict.FAILED, wanted)
        assert f"{name} of" in report.reasons[0]
        assert "a single class lost more than the limit allows" in report.summary.go_live
        assert Report.from_json(report.to_json()).lost_classes == report.lost_classes


def test_a_class_that_newer_ones_swallow_fails_it_in_a_holdout_and_not_in_a_suite() -> None:
    """In a suite its name may overlap with a learned one that is right as well."""
    (lost,) = losing("bag", over=ClassList.UNION).lost_classes
    assert (lost.class_name, lost.name, lost.asked) == ("bag", "version 2", ClassList.UNION)
    assert losing("cat", over=ClassList.UNION).lost_classes == ()


@pytest.mark.parametrize("name", ["cat", "bag"])
@pytest.mark.parametrize("live", [None, FIRST, SECOND], ids=["none", "root's child", "parent"])
def test_a_class_that_is_lost_in_steps_fails_once_the_sum_is_beyond_the_limit(
    name: str, live: Version | None
) -> None:
    """Each update loses about as much as chance may take; the live version's loss is its own."""
    right_of_ten = {1: 10, 2: 10, 3: 6, 4: 0}
    plan = third_update(
        policy=policy(**WIDE),
        suites=[SUITE],
        earlier=[HeldOutUpdate(version=FIRST, holdout=HELD_OUT), EARLIER[1]],
        live=live and LiveLineage(version=live, lineage=frozenset({1, 2, 3}), updates=()),
    )

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        at = index // 2 if name == "bag" else index // 3
        lost = question.entries[index].class_name == name and at % 10 >= right_of_ten[who.number]
        return not lost and learned(who, question, index)

    report = report_of(plan, right)
    found = {(one.class_name, one.baseline_version) for one in report.lost_classes}
    assert {(name, 1 if name == "cat" else 2)} <= found
    assert (name, 3) not in found
    if live is SECOND:  # which has lost as much as 40 of 100 itself
        assert report.verdict is Verdict.INCONCLUSIVE
        assert report.reasons[0].startswith(
            "The live version itself has lost more of a single class than the allowed 30.0 "
            f"points: {name} of"
        )
        assert "the live version itself has lost more" in report.summary.go_live
    else:
        assert (report.verdict, "a single class" in report.summary.go_live) == ("failed", True)
    assert judge_again(report, policy(**WIDE)).verdict is report.verdict


def test_easier_images_of_a_class_do_not_hide_that_those_of_an_earlier_edition_are_lost() -> None:
    images = SUITE.manifest.entries + tuple(
        replace(one, edition=2) for one in entries("easy", [("cat",)] * 60)
    )
    grown = suite("emoji", images, SuiteKind.ZERO_SHOT)
    plan = second_update(policy=policy(**WIDE), suites=[grown], earlier=[], candidate=EARLIER[1])

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        entry = question.entries[index]
        return who is not SECOND or entry.class_name != "cat" or entry.edition == 2

    report = report_of(plan, right)
    found = {(one.class_name, one.edition, one.images) for one in report.lost_classes}
    assert (report.verdict, found) == (Verdict.FAILED, {("cat", 1, 20)})
    assert "cat of emoji in edition 1, against the" in report.reasons[0]


def taught_again(*, same_images: bool = False, minimum_count: int = 100) -> EvaluationPlan:
    """The examination of version 7: five updates taught bag and cap, and a class of their own.

    Each of their holdouts has 18 images.
    """
    line, earlier = ROOT, list[HeldOutUpdate]()
    for number in range(2, 7):
        names = ("bag", "cap", f"only {number}")
        line = replace(taught(line, number, names), classes=distinct(line.classes + names))
        images = entries("same" if same_images else f"of {number}", [(name,) for name in names] * 6)
        earlier.append(HeldOutUpdate(version=line, holdout=images, passed=True))
    own = HeldOutUpdate(
        version=taught(line, 7, ("boot",)), holdout=entries("own", [("boot",)] * 10)
    )
    limits = policy(**WIDE, minimum_count=minimum_count)
    return second_update(candidate=own, parent=line, earlier=earlier, suites=[SUITE], policy=limits)


@pytest.mark.parametrize(
    ("minimum_count", "named"), [(100, "5 updates"), (10, "5 updates (large ones included)")]
)
@pytest.mark.parametrize("same_images", [False, True])
def test_a_class_of_several_holdouts_is_judged_by_its_images_in_all(
    minimum_count: int, named: str, *, same_images: bool
) -> None:
    """Six images in one are too few to tell; the same six, taught five times, are no more.

    So it is with small holdouts, which are judged together, and with large ones, which are not.
    """
    plan = taught_again(same_images=same_images, minimum_count=minimum_count)

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return who != plan.candidate or question.entries[index].class_name != "bag"

    report = report_of(plan, right)
    found = {(one.class_name, one.kind, one.images, one.right) for one in report.lost_classes}
    if same_images:
        assert (report.verdict, found) == (Verdict.INCONCLUSIVE, set())
    else:
        assert (report.verdict, found) == (
            Verdict.FAILED,
            {("bag", MeasureKind.HOLDOUTS, 30, 0)},
        )
        assert f"bag of the holdouts of {named}, against the parent" in report.reasons[0]
        assert Report.from_json(report.to_json()).lost_classes == report.lost_classes


def test_a_class_is_lost_in_several_holdouts_by_images_that_were_taught_again() -> None:
    """Whoever teaches them again, as they are answered over a longer list, hides no loss."""
    plan = taught_again()
    *earlier, newest = plan.earlier
    copies = [entry for one in earlier for entry in one.exam.own.entries]
    again = tuple(
        replace(one, pixels=digest(f"{one.pixels} again"), near_duplicate_of=one.pixels)
        for one in copies
        if one.class_name == "bag"
    )
    own = replace(newest.exam.own, entries=newest.exam.own.entries + again)
    exam = replace(newest.exam, own=own, union=replace(own, classes=newest.exam.union.classes))
    plan = replace(plan, holdouts=(*earlier, replace(newest, exam=exam, common=exam)))

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        entry = question.entries[index]
        return who != plan.candidate or entry.class_name != "bag" or entry in again

    found = class_losses(EvaluationResults(plan=plan, answers=answered(plan, right)))
    pools = [one for one in found if one.kind is MeasureKind.HOLDOUTS and one.class_name == "bag"]
    assert {(one.images, one.lost) for one in pools} == {(30, 30)}


def test_a_class_of_one_holdout_is_judged_there_alone() -> None:
    plan = taught_again()
    answers = answered(plan, lambda *_: True)
    found = class_losses(EvaluationResults(plan=plan, answers=answers))
    assert {one.class_name for one in found if one.kind is MeasureKind.HOLDOUTS} == {"bag", "cap"}


@pytest.mark.parametrize("same_images", [False, True])
def test_a_class_of_several_suites_is_judged_by_its_images_in_all(*, same_images: bool) -> None:
    """Ten images in one are too few to tell; the same ten, in four suites, are no more."""
    shown = [("cat",), ("dog",), ("sun",)] * 10
    suites = [
        suite(name, entries("same" if same_images else name, shown), SuiteKind.ZERO_SHOT)
        for name in ("drawn", "emoji", "photo", "sketch")
    ]
    suites.append(suite("other", entries("other", [("map",), ("road",)] * 10), SuiteKind.ZERO_SHOT))
    plan = second_update(
        policy=policy(**WIDE), suites=suites, earlier=[], candidate=EARLIER[1], parent=FIRST
    )

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return who is not SECOND or question.entries[index].class_name != "cat"

    results = EvaluationResults(plan=plan, answers=answered(plan, right))
    shown_by_several = {one.class_name for one in class_losses(results) if one.name == "5 suites"}
    assert shown_by_several == {"cat", "dog", "sun"}
    report = report_of(plan, right)
    found = {
        (one.class_name, one.name, one.baseline, one.images, one.lost)
        for one in report.lost_classes
    }
    if same_images:
        assert (report.verdict, found) == (Verdict.INCONCLUSIVE, set())
    else:
        assert (report.verdict, found) == (
            Verdict.FAILED,
            {("cat", "5 suites", baseline, 40, 40) for baseline in ("parent", "root")},
        )
        assert "cat of 5 suites, against the" in report.reasons[0]
        assert Report.from_json(report.to_json()).lost_classes == report.lost_classes


def test_near_duplicates_of_a_class_count_once() -> None:
    first, *others = (one for one in SUITE.manifest.entries if one.class_name == "cat")
    copies = [replace(one, near_duplicate_of=first.pixels) for one in others]
    kept = [one for one in SUITE.manifest.entries if one.class_name != "cat"]
    found = suite("emoji", [first, *copies, *kept], SuiteKind.ZERO_SHOT)
    assert losing("cat", over=ClassList.OWN, images=found).lost_classes == ()


def test_without_a_limit_or_with_a_wider_one_the_same_report_does_not_fail() -> None:
    report = losing("cat", over=ClassList.OWN)
    for limit in (None, 0.95):
        lenient = losing("cat", over=ClassList.OWN, class_tolerance=limit)
        again = judge_again(report, policy(**WIDE, class_tolerance=limit))
        assert (lenient.verdict, again.verdict) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert judge_again(report, policy(**WIDE)).verdict is Verdict.FAILED


@pytest.mark.parametrize("by", ["parent", "live"])
@pytest.mark.parametrize("own_prompts", [False, True])
def test_a_class_of_the_update_itself_that_is_lost_fails_it_though_others_gain_more(
    by: str, *, own_prompts: bool
) -> None:
    """Callers had it from the parent or the live version, in the prompt of these."""
    prompt = PromptTemplate("sku {name} 2026") if own_prompts else ROOT.prompt
    update = replace(taught(ROOT, 2, ("bag", "shirt", "cap")), prompt=prompt)
    held_out = entries("own", [("bag",), ("shirt",), ("cap",)] * 20)
    plan = second_update(
        candidate=HeldOutUpdate(version=update, holdout=held_out),
        parent=ROOT,
        earlier=[],
        suites=[SUITE],
        live=live_line() if by == "live" else None,
        policy=policy(**WIDE),
    )
    knower = ROOT if by == "parent" else plan.live

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        if not isinstance(question, ClassQuery) or question.entries != held_out:
            return True
        if question.entries[index].class_name == "bag":
            return who == knower and question.prompt == ROOT.prompt
        return who == update

    report = report_of(plan, right)
    (lost,) = report.lost_classes
    found = (lost.class_name, lost.name, lost.kind, lost.baseline.split()[0], lost.own_prompts)
    kind = MeasureKind.GAIN if by == "parent" else MeasureKind.HOLDOUT
    assert found == ("bag", "version 2", kind, by, own_prompts)
    assert (report.verdict, lost.right, lost.right_before) == (Verdict.FAILED, 0, 20)
    whose = "this update's own holdout" if by == "parent" else "the holdout of version 2"
    assert f"bag of {whose}" in report.reasons[0]
    assert judge_again(report, plan.policy).verdict is Verdict.FAILED


def test_names_that_the_policy_calls_the_same_are_one_class_of_several_suites() -> None:
    """Ten images by each of four names are too few to tell, and forty are not."""
    names = {"drawn": "cat", "emoji": "kitten", "photo": "cat face", "sketch": "house cat"}
    suites = [
        suite(where, entries(where, [(name,), ("dog",), ("sun",)] * 10), SuiteKind.ZERO_SHOT)
        for where, name in names.items()
    ]
    pairs = tuple(("cat", name) for name in [*names.values()][1:])
    found: list[tuple[Verdict, set[tuple[str, int]]]] = []
    for same_names in ((), pairs):
        plan = second_update(
            policy=policy(**WIDE, same_names=same_names),
            suites=suites,
            earlier=[],
            candidate=EARLIER[1],
            parent=FIRST,
        )

        def right(who: Version, question: EvalQuery, index: int) -> bool:
            lost = question.entries[index].class_name in names.values()
            return who is not SECOND or not lost

        report = report_of(plan, right)
        lost = {(one.name, one.images) for one in report.lost_classes}
        found.append((report.verdict, lost))
    assert found == [
        (Verdict.INCONCLUSIVE, set()),
        (Verdict.FAILED, {("4 suites", 40)}),
    ]
