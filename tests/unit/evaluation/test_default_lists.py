"""Default lists, for callers who send no classes: each version chooses from what it learned."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from core.datasets.rules import SuiteKind
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge_again import judge_again
from core.evaluation.plan import EvaluationPlan, LiveLineage, plan_queries
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.report import Report
from core.gate.kinds import ClassList, Outcome
from core.gate.measures import Ruling
from core.gate.rules import Verdict
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    MODEL,
    ROOT,
    answered,
    entries,
    live_line,
    policy,
    report_of,
    suite,
    taught,
)
from tests.support.evaluation.evidence import evidence_of
from tests.support.second_gate.verdict import agrees

SHELF = suite(
    "shelf",
    entries("shelf", [(name,) for name in ("cat", "dog", "sun", "key", "cup")] * 80),
    SuiteKind.ZERO_SHOT,
)


def animals(
    *sizes: int, taught_classes: Sequence[str] = ("animal",), live: LiveLineage | None = None
) -> EvaluationPlan:
    """The examination of an update after others with so many test images of foxes and wolves."""
    line, parent = [], ROOT
    for number, size in enumerate(sizes, 2):
        parent = taught(parent, number, ("fox", "wolf"))
        held_out = entries(f"held out {number}", [("fox",), ("wolf",)] * (size // 2))
        line.append(HeldOutUpdate(version=parent, holdout=held_out, passed=True))
    candidate = taught(parent, len(sizes) + 2, taught_classes)
    own = entries("own", [(name,) for name in candidate.update_classes] * 60)
    return plan_queries(
        model=MODEL,
        policy=policy(minimum_count=350),
        candidate=HeldOutUpdate(version=candidate, holdout=own),
        parent=parent,
        root=ROOT,
        earlier=line,
        suites=[SHELF],
        live=live,
    )


def taking(share: int) -> Callable[[Version, EvalQuery, int], bool]:
    """Whichever version is asked, the name "animal" takes so many of 20 foxes and wolves."""

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        shown = question.entries[index].class_name
        if shown not in {"fox", "wolf"}:
            return shown in {*who.classes, *SHELF.suite.classes} or index % 3 == 0
        assert isinstance(question, ClassQuery)
        return index % 20 > (share if "animal" in question.classes else 0)

    return right


def by_default(report: Report) -> list[Ruling]:
    return [one for one in report.measures if one.asked is ClassList.DEFAULT]


def test_a_name_that_takes_earlier_answers_from_both_versions_fails_the_one_that_adds_it() -> None:
    """Over each list that both are asked, nothing is lost."""
    report = report_of(animals(600), taking(9))
    (told,) = by_default(report)
    assert (told.right_before, told.right, told.classes) == (570, 300, 3)
    failing = [one for one in report.measures if one.outcome is Outcome.FAILS]
    assert (report.verdict, failing, report.lost_classes) == (Verdict.FAILED, [told], ())
    assert report.summary.go_live == (
        "It may not go live: callers who send no classes would lose more than the limit allows."
    )
    assert report.summary.lost == (
        "It lost most on the holdout of version 2, each version with all classes that it has "
        "learned to choose from: 300 of 600 answers are right; 570 were with version 2."
    )
    taken = {(row.asked, row.class_name, row.answered, row.images) for row in report.taken}
    assert {one for one in taken if one[0] is ClassList.DEFAULT} == {
        (ClassList.DEFAULT, "fox", "wolf", 120),
        (ClassList.DEFAULT, "wolf", "animal", 150),
    }


@pytest.mark.parametrize("share", [1, 6])
def test_what_names_take_within_the_limit_or_in_doubt_keeps_no_version_from_passing(
    share: int,
) -> None:
    report = report_of(animals(600), taking(share))
    (told,) = by_default(report)
    assert told.right_before - told.right == 30 * share
    assert (told.outcome, report.verdict) == (Outcome.HOLDS, Verdict.PASSED)
    assert f"{600 - 30 - 30 * share} of 600 answers are right; 570 were" in report.summary.lost


def test_a_name_that_takes_a_whole_small_update_by_default_fails_whatever_the_others_keep() -> None:
    """Of five holdouts together, less is lost than the limit."""
    plan = animals(80, 340, 340, 340, 340)
    first = {one.pixels for one in plan.holdouts[0].exam.own.entries}

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        taken = isinstance(question, ClassQuery) and "animal" in question.classes
        shown = question.entries[index]
        if shown.pixels in first:
            return not taken
        return shown.class_name != "animal" or "animal" in who.classes

    report = report_of(plan, right)
    found = {one.name: (one.pooled, one.lost, one.outcome) for one in by_default(report)}
    assert found["version 2"] == (True, 80, Outcome.FAILS)
    assert found["5 updates"] == (False, 80, Outcome.HOLDS)
    assert report.verdict is Verdict.FAILED


def test_holdouts_are_asked_by_default_alone_and_small_ones_together_too() -> None:
    report = report_of(animals(100, 400, 80), taking(12))
    assert [(one.name, one.images, one.outcome) for one in by_default(report)] == [
        ("version 2", 100, Outcome.FAILS),
        ("version 3", 400, Outcome.FAILS),
        ("version 4", 80, Outcome.FAILS),
        ("2 updates", 180, Outcome.FAILS),
    ]


def learned_shelf(
    learned: Sequence[str],
    live: Version | None = None,
    taught_classes: Sequence[str] = ("animal",),
    same_names: tuple[tuple[str, str], ...] = (),
) -> EvaluationPlan:
    """An update, as of "animal", whose parent has learned classes that only a suite shows."""
    parent = taught(ROOT, 2, learned)
    names = ("fox", "wolf", "cup") * 200
    shelf = suite("forest", entries("forest", [(name,) for name in names]), SuiteKind.ZERO_SHOT)
    return plan_queries(
        model=MODEL,
        policy=policy(minimum_count=350, same_names=same_names),
        candidate=HeldOutUpdate(
            version=taught(parent, 3, taught_classes),
            holdout=entries("own", [(name,) for name in taught_classes] * 60),
        ),
        parent=parent,
        root=ROOT,
        earlier=[],
        suites=[shelf],
        live=None if live is None else LiveLineage(version=live, lineage=frozenset(), updates=()),
    )


def test_suites_are_asked_by_default_about_what_a_version_has_learned() -> None:
    """The parent has no holdout: nothing else shows what callers lose who send no classes."""
    report = report_of(learned_shelf(("Fox", "wolf")), taking(19))
    (told,) = by_default(report)
    assert (told.name, told.images, told.right_before, told.right) == ("forest", 400, 380, 0)
    failing = [one for one in report.measures if one.outcome is Outcome.FAILS]
    assert told in failing
    assert report.verdict is Verdict.FAILED
    assert report.summary.go_live.endswith(
        "who send no classes would lose more than the limit allows."
    )


def test_suites_are_asked_by_default_where_no_new_name_is_taught() -> None:
    """Over every other list the suite's classes compete, and may have the answers already."""
    plan = learned_shelf(("fox", "wolf"), taught_classes=("fox", "wolf"))

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        alone = isinstance(question, ClassQuery) and "cup" not in question.classes
        shown = question.entries[index].class_name
        if who == plan.candidate and alone and len(question.entries) == 400:
            return shown == "wolf"
        return alone or index % 2 == 0

    report = report_of(plan, right)
    (told,) = by_default(report)
    assert (told.name, told.right_before, told.right) == ("forest", 400, 200)
    failing = {one.asked for one in report.measures if one.outcome is Outcome.FAILS}
    assert (report.verdict, failing) == (Verdict.FAILED, {ClassList.DEFAULT, ClassList.LEARNED})


@pytest.mark.parametrize("taught_classes", [("animal",), ("fox", "wolf")])
@pytest.mark.parametrize("loss", [0, 1, 2])
def test_a_suites_own_classes_hide_nothing_that_is_lost_of_what_was_learned(
    taught_classes: Sequence[str], loss: int
) -> None:
    """By default, a loss of 10 or 20 points is within the limit."""
    plan = learned_shelf(("fox", "wolf"), taught_classes=taught_classes)

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        alone = isinstance(question, ClassQuery) and "cup" not in question.classes
        if alone and len(question.entries) == 400:
            return index % 10 >= (loss if who == plan.candidate else 0)
        return alone or index % 2 == 0

    report = report_of(plan, right)
    found = [one for one in report.measures if one.asked is ClassList.LEARNED]
    assert [(one.name, one.count, one.lost) for one in found] == [("forest", 400, 40 * loss)]
    assert {one.outcome for one in by_default(report)} == {Outcome.HOLDS}
    assert (report.verdict is Verdict.FAILED) == bool(loss)
    if loss:
        assert "among the learned classes alone it lost more" in report.summary.go_live
        told = f"Top-1 on forest, with the {3 - (taught_classes[0] == 'fox')} learned classes alone"
        assert report.reasons[0].startswith(told)


def shelves(updates: int, *, passed: bool = True, live: int | None = None) -> EvaluationPlan:
    """An update after so many, the first of which taught foxes and wolves, which a suite shows.

    `live` is the version of the line that it would replace; None is no other than its parent.
    """
    line, parent = list[HeldOutUpdate](), ROOT
    for number in range(2, 2 + updates):
        names = ("fox", "wolf") if number == 2 else (f"kind {number}",)
        parent = taught(parent, number, names)
        held_out = entries(f"held out {number}", [(name,) for name in names] * 60)
        line.append(HeldOutUpdate(version=parent, holdout=held_out, passed=passed))
    candidate = taught(parent, 2 + updates, ("animal",))
    return plan_queries(
        model=MODEL,
        policy=policy(minimum_count=350),
        candidate=HeldOutUpdate(version=candidate, holdout=entries("own", [("animal",)] * 60)),
        parent=parent,
        root=ROOT,
        earlier=line,
        suites=[
            suite(name, entries(name, [(one,) for one in shown] * 200), SuiteKind.ZERO_SHOT)
            for name, shown in {"forest": ("fox", "wolf", "cup"), "cups": ("cup", "mug")}.items()
        ],
        live=None
        if live is None
        else LiveLineage(
            version=line[live - 2].version, lineage=frozenset(range(1, live + 1)), updates=()
        ),
    )


def a_little_at_a_time(who: Version, question: EvalQuery, index: int) -> bool:
    """Each version loses 2.5 points with learned classes alone; other classes hide it."""
    assert isinstance(question, ClassQuery)
    alone = "cup" not in question.classes
    shown = question.entries[index].class_name
    if alone and len(question.entries) == 400:
        return index // 2 % 40 >= who.number
    return shown in {*who.classes, "fox", "wolf", "cup", "mug"}


def test_learned_classes_alone_are_asked_of_settled_versions_too() -> None:
    plan = shelves(9)
    report = report_of(plan, a_little_at_a_time)
    found = [one for one in report.measures if one.asked is ClassList.LEARNED]
    lost = [(one.baseline, one.baseline_version, one.lost, one.tolerance) for one in found]
    assert lost[0] == ("parent", 10, 10, 0.05)
    settled = [("settled version", number, 10 * (11 - number), 0.1) for number in (3, 5, 7, 9)]
    assert set(settled) <= set(lost[1:])
    failing = [one for one in report.measures if one.outcome is Outcome.FAILS]
    assert {(one.asked, one.baseline) for one in failing} == {
        (ClassList.LEARNED, "settled version")
    }
    assert (report.verdict, judge_again(report, plan.policy).verdict) == ("failed", "failed")
    assert report.reasons[0].startswith(
        "Top-1 on forest, with the 11 learned classes alone to choose from, against the settled "
        "version 3"
    )
    agrees(evidence_of(plan, answered(plan, a_little_at_a_time)))


def test_a_settled_version_that_is_live_is_asked_once_over_learned_classes() -> None:
    plan = shelves(9, live=6)
    assert [one.number for one, _ in plan.settled_learned] == [3, 4, 5, 7, 8, 9]
    report = report_of(plan, a_little_at_a_time)
    found = [one for one in report.measures if one.asked is ClassList.LEARNED]
    assert [(one.baseline, one.baseline_version) for one in found][:2] == [
        ("parent", 10),
        ("live version", 6),
    ]
    agrees(evidence_of(plan, answered(plan, a_little_at_a_time)))


def test_only_what_went_live_by_passing_is_settled_for_learned_classes() -> None:
    plan = shelves(9, passed=False)
    assert plan.settled_learned == ()
    report = report_of(plan, a_little_at_a_time)
    found = [one for one in report.measures if one.asked is ClassList.LEARNED]
    assert [(one.baseline, one.lost) for one in found] == [("parent", 10)]
    assert report.verdict is not Verdict.FAILED


def test_few_images_of_what_was_learned_hold_nothing_back_by_chance() -> None:
    """One of four is lost with the learned classes alone."""
    plan = learned_shelf(("fox", "wolf"))
    shown = [("cup",), ("cap",)] * 200 + [("fox",), ("wolf",)] * 2
    suites = [suite("forest", entries("few", shown), SuiteKind.ZERO_SHOT)]
    plan = plan_queries(
        model=MODEL,
        policy=plan.policy,
        candidate=HeldOutUpdate(version=plan.candidate, holdout=entries("o", [("animal",)] * 60)),
        parent=plan.parent,
        root=ROOT,
        earlier=[],
        suites=suites,
    )

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        shown = question.entries[index].class_name
        if shown == "animal":
            return who == plan.candidate
        return not (len(question.entries) == 4 and index == 0 and who == plan.candidate)

    report = report_of(plan, right)
    found = [one for one in report.measures if one.asked is ClassList.LEARNED]
    assert [(one.count, one.lost, one.outcome) for one in found] == [(4, 1, Outcome.HOLDS)]
    assert report.verdict is Verdict.PASSED


@pytest.mark.parametrize("same_names", [(), (("Fox", "Vixen"), ("den", "wolf"))])
def test_suites_are_asked_by_default_about_names_that_mean_what_was_learned(
    same_names: tuple[tuple[str, str], ...],
) -> None:
    plan = learned_shelf(("VIXEN", "den"), same_names=same_names)
    shown = [set(one.own.truths) for one in plan.parent_learned]
    assert shown == ([{"fox", "wolf"}] if same_names else [])


def test_a_suite_is_asked_by_default_beside_each_version_about_its_own_classes() -> None:
    live = taught(ROOT, 4, ("cup",))
    plan = learned_shelf(("fox",), live)
    assert [(one.baseline, one.images) for one in by_default(report_of(plan, taking(0)))] == [
        ("parent", 200),
        ("live version", 200),
    ]
    assert by_default(report_of(learned_shelf(("sun",)), taking(19))) == []


def test_a_version_that_adds_no_class_has_the_default_list_of_its_parent() -> None:
    assert by_default(report_of(animals(600, taught_classes=("fox", "wolf")), taking(9))) == []


def test_a_live_version_is_asked_over_its_own_default_list_about_what_it_has_learned() -> None:
    ninth, _ = live_line().updates
    live = LiveLineage(version=ninth.version, lineage=frozenset({1, 9}), updates=(ninth,))
    plan = animals(600, live=live)
    report = report_of(plan, taking(1))
    assert [(one.name, one.baseline, one.right_before) for one in by_default(report)] == [
        ("version 2", "parent", 570),
        ("version 9", "live version", 20),
    ]
    (asked,) = [questions for who, questions in plan.questions if who == ninth.version]
    own = replace(plan.live_holdouts[0].exam.own, classes=ninth.version.classes)
    assert own in asked
