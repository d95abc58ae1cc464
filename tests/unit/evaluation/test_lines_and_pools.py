"""Losses that add up over a line, and holdouts that are judged together."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.datasets.rules import SuiteKind
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge_again import judge_again
from core.evaluation.plan import EvaluationPlan, LiveLineage
from core.evaluation.queries import EvalQuery, RetrievalQuery
from core.evaluation.report import Report
from core.gate.guards import has_images
from core.gate.kinds import ClassList, MeasureKind, Outcome
from core.gate.measures import Measure
from core.gate.rules import Verdict
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    EARLIER,
    FIRST,
    ROOT,
    THIRD,
    entries,
    live_line,
    policy,
    report_of,
    right,
    second_update,
    suite,
    taught,
    third_update,
)


def losing(**wrong: int) -> Callable[[Version, EvalQuery, int], bool]:
    """Each version is wrong about the first few images of each query: `v4=3` of version 4."""
    return lambda who, question, index: index >= wrong.get(f"v{who.number}", 0)


def pools(report: Report) -> dict[str, Measure]:
    """The measures of several holdouts together over their own lists, by baseline."""
    pooled = [one for one in report.measures if one.kind is MeasureKind.HOLDOUTS]
    return {one.baseline: one for one in pooled if one.asked is ClassList.OWN}


def test_holdouts_of_the_line_are_measured_together_against_the_parent_and_settled_versions() -> (
    None
):
    plan = third_update(policy=policy(holdout_tolerance=0.07, settled_tolerance=0.09))
    found = pools(report_of(plan, losing(v4=3, v3=1, v2=2)))
    assert {(m.name, m.images, m.count) for m in found.values()} == {("2 updates", 40, 40)}
    parent, settled = found["parent"], found["settled version"]
    assert (parent.baseline_version, parent.tolerance) == (3, 0.07)
    assert (parent.right, parent.right_before, parent.gained, parent.lost) == (34, 38, 0, 4)
    assert (settled.baseline_version, settled.tolerance) == (None, 0.09)
    assert (settled.right_before, settled.lost) == (18 + 19, 1 + 2)


@pytest.mark.parametrize("updates", [1, 2])
def test_holdouts_are_pooled_only_where_there_are_several(updates: int) -> None:
    plan = second_update() if updates == 1 else third_update()
    measures = report_of(plan, right).measures
    alone = [m.pooled for m in measures if m.kind is MeasureKind.HOLDOUT]
    assert set(alone) == {updates > 1}
    others = {m.asked for m in measures if m.pooled and m.kind is not MeasureKind.HOLDOUT}
    assert others == {ClassList.LEARNED}  # of suites, whose images are asked with their classes


def test_a_large_holdout_stands_alone_so_that_it_hides_no_loss_of_several_small_ones() -> None:
    """Five small updates lose 15 points each; an earlier one of 800 images loses nothing."""
    names = [("bag",), ("shirt",)]
    small, before = list[HeldOutUpdate](), ROOT
    for number in range(2, 8):
        before, count = taught(before, number, ("bag", "shirt")), 20 if number < 7 else 400
        images = entries(f"update {number}", names * count)
        small.append(HeldOutUpdate(version=before, holdout=images))
    candidate = HeldOutUpdate(
        version=taught(before, 8, ("hat",)), holdout=entries("own", [("hat",)])
    )
    emoji = suite("emoji", entries("many", [("cat",), ("dog",)] * 500), SuiteKind.ZERO_SHOT)

    def forgets(who: Version, question: EvalQuery, index: int) -> bool:
        return who.number < 8 or len(question.entries) > 40 or index % 20 > 2

    def judged(earlier: list[HeldOutUpdate]) -> Report:
        plan = second_update(
            policy=policy(minimum_count=350, class_tolerance=None),
            candidate=candidate,
            parent=before,
            earlier=earlier,
            suites=[emoji],
        )
        return report_of(plan, forgets)

    beside = judged(small)
    assert judged(small[:-1]).verdict is beside.verdict is Verdict.FAILED
    pool = next(m for m in beside.measures if m.kind is MeasureKind.HOLDOUTS)
    assert (pool.name, pool.images, pool.lost) == ("5 updates", 200, 30)
    large = [m for m in beside.measures if m.name == "version 7"]
    assert {(m.pooled, has_images(m, 350)) for m in large} == {(False, True)}


def test_a_holdout_counts_as_pooled_only_if_it_is_with_all_that_its_baseline_is() -> None:
    measures = report_of(second_update(live=live_line()), right).measures
    found = {(m.name, m.baseline): m.pooled for m in measures if m.kind is MeasureKind.HOLDOUT}
    assert found == {
        ("version 2", "parent and settled version"): False,  # the parent has no other holdout
        ("version 2", "parent"): False,  # by default
        ("version 2", "live version"): True,
        ("version 9", "live version"): True,
        ("version 9", "settled version"): True,
        ("version 10", "live version and settled version"): True,
        ("version 10", "live version"): True,  # by default
        ("version 3", "live version"): True,  # its own, of which the gain is as well
    }


def test_holdouts_of_the_live_version_are_measured_together_against_it() -> None:
    plan = second_update(live=live_line(), policy=policy(holdout_tolerance=0.07))
    found = pools(report_of(plan, losing(v3=1, v10=2)))
    live, both = found["live version"], found["settled version"]
    assert (live.name, live.baseline_version) == ("2 updates of the live version", 10)
    assert (live.images, live.count, live.tolerance) == (30, 30, 0.07)
    assert (live.right, live.right_before, live.gained, live.lost) == (28, 26, 2, 0)
    assert (both.name, both.images) == ("3 updates of both lines", 50)


@pytest.mark.parametrize("of_captions", [False, True])
def test_what_is_gained_since_the_live_version_makes_up_for_nothing_that_it_had_learned(
    of_captions: bool,
) -> None:
    """Two updates were taught before version 3, which is live, and two since by versions between.

    Of the former the candidate has lost eight points each, and all of the latter it has gained.
    """
    made, before = list[HeldOutUpdate](), ROOT
    for number in range(2, 7):
        before = taught(before, number, () if of_captions else (f"a{number}", f"b{number}"))
        names = [f"a{number}", f"b{number}"] * (25 if number < 4 else 40)
        texts = [(f"{name} {n}" if of_captions else name,) for n, name in enumerate(names)]
        given: dict[str, Any] = {"holdout": (), "captions": ()}
        given["captions" if of_captions else "holdout"] = entries(f"update {number}", texts)
        made.append(HeldOutUpdate(version=before, **given))
    *earlier, own = made
    live = LiveLineage(version=earlier[1].version, lineage=frozenset({1, 2, 3}), updates=())
    own_of = {image.pixels: one for one in made for image in (*one.holdout, *one.captions)}

    def loses(who: Version, question: EvalQuery, index: int) -> bool:
        image = question.entries[index].pixels
        if image not in own_of:
            return True
        update = own_of[image]
        place = [one.pixels for one in (*update.holdout, *update.captions)].index(image)
        return who.number >= update.version.number and not (
            update.version.number < 4 and who.number > 3 and place % 25 > 22
        )

    plan = second_update(
        candidate=own,
        parent=earlier[-1].version,
        earlier=earlier,
        live=live,
        policy=policy(minimum_count=200, parent_tolerance=0.06, holdout_tolerance=0.06),
    )
    report = report_of(plan, loses)
    kind = MeasureKind.IMAGE_TO_TEXT if of_captions else MeasureKind.HOLDOUTS
    several = {
        one.name.replace(" captioned", ""): (one.images, one.outcome)
        for one in report.measures
        if (one.kind, one.depth, one.baseline) == (kind, 1, "live version")
        if one.asked is ClassList.OWN and "updates" in one.name and not one.pooled
        if not one.name.endswith("gallery")
    }
    assert several == {
        "2 updates": (100, Outcome.OPEN),
        "2 updates of this line": (160, Outcome.HOLDS),
    }


def fourth_update(**changes: Any) -> EvaluationPlan:
    """The examination of version 5, which has learned cap; version 3 went live before version 4."""
    line = [EARLIER[0], replace(EARLIER[1], passed=True)]
    line.append(HeldOutUpdate(version=THIRD, holdout=entries("third", [("hat",)] * 20)))
    fifth = taught(THIRD, 5, ("cap",))
    candidate = HeldOutUpdate(version=fifth, holdout=entries("fifth", [("cap",)] * 10))
    given: dict[str, Any] = {"candidate": candidate, "parent": THIRD, "earlier": line}
    return second_update(**given | changes)


def test_a_holdout_is_compared_with_the_parent_the_live_and_wider_the_settled_version() -> None:
    live = LiveLineage(version=FIRST, lineage=frozenset({1, 2}), updates=())
    report = report_of(fourth_update(live=live), right)
    assert (report.live, report.parent) == (2, 4)
    found = {
        (m.name, m.baseline, m.baseline_version): m.tolerance
        for m in report.measures
        if (m.kind, m.asked) == (MeasureKind.HOLDOUT, ClassList.OWN)
    }
    assert found == {
        ("version 2", "parent", 4): 0.05,
        ("version 2", "live version", 2): 0.05,
        ("version 2", "settled version", 3): 0.08,
        # the live version has not learned these two, but what it is right about may not be lost
        ("version 3", "live version", 2): 0.05,
        ("version 4", "live version", 2): 0.05,
        ("version 5", "live version", 2): 0.05,  # what it was taught itself
        ("version 3", "parent", 4): 0.05,
        ("version 3", "settled version", 3): 0.08,
        ("version 4", "parent and settled version", 4): 0.05,
    }
    assert {m.baseline for m in report.measures if m.name == "emoji"} == {
        "parent",
        "live version",
        "root",
        "settled version",
    }
    assert pools(report)["parent"].images == 60


def test_what_a_line_has_gained_on_a_suite_is_not_lost_in_steps() -> None:
    """Version 3 went live by passing, and is right about pets, of which the root knows none."""
    plan = fourth_update(policy=policy(class_tolerance=None))

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        if isinstance(question, RetrievalQuery):
            return True
        return question.entries[index].class_name not in {"cat", "dog"} or who.number == 3

    report = report_of(plan, right)
    settled = [
        m
        for m in report.measures
        if m.name in {"emoji", "shapes"} and m.baseline == "settled version"
    ]
    assert {(m.name, m.asked.value, m.kind.value, m.baseline_version) for m in settled} == {
        ("emoji", "own", "zero_shot", 3),
        ("emoji", "learned", "zero_shot", 3),
        ("shapes", "own", "image_to_text", 3),
        ("shapes", "own", "text_to_image", 3),
    }
    over = {m.asked: (m.tolerance, m.outcome) for m in settled if m.name == "emoji"}
    assert over == {
        ClassList.OWN: (0.08, Outcome.FAILS),
        ClassList.LEARNED: (0.1, Outcome.HOLDS),
    }
    assert any("Top-1 on emoji against the settled version 3" in one for one in report.reasons)
    assert (report.verdict, judge_again(report, plan.policy).verdict) == ("failed", "failed")


def test_losses_that_each_update_may_have_do_not_add_up_unseen() -> None:
    limits = {"holdout_tolerance": 0.2, "settled_tolerance": 0.25, "alpha": 0.2}
    plan = fourth_update(policy=policy(**limits, parent_tolerance=1.0, root_tolerance=1.0))
    report = report_of(plan, losing(v4=12, v5=14))
    outcomes = {
        m.baseline: m.outcome
        for m in report.measures
        if (m.name, m.asked) == ("version 2", ClassList.OWN)
    }
    assert outcomes == {"parent": Outcome.HOLDS, "settled version": Outcome.FAILS}
    assert report.verdict is Verdict.FAILED


def test_what_each_update_may_swallow_does_not_add_up_unseen() -> None:
    """Nothing is forgotten over the old list, and each update takes what one update may."""
    limits = {"holdout_tolerance": 0.2, "swallow_tolerance": 0.2, "alpha": 0.25}
    plan = fourth_update(policy=policy(**limits, parent_tolerance=1.0, root_tolerance=1.0))
    bags = plan.holdouts[0].exam
    wrong = {3: 0, 4: 10, 5: 12}

    def swallowing(who: Version, question: EvalQuery, index: int) -> bool:
        return question != bags.union or index >= wrong.get(who.number, 0)

    report = report_of(plan, swallowing)
    outcomes = {
        (m.baseline, m.asked): m.outcome
        for m in report.measures
        if m.name == "version 2" and not m.only_fails
    }
    assert outcomes == {
        ("parent", ClassList.OWN): Outcome.HOLDS,
        ("settled version", ClassList.OWN): Outcome.HOLDS,
        ("parent", ClassList.UNION): Outcome.HOLDS,
        ("settled version", ClassList.UNION): Outcome.FAILS,
    }
    assert report.verdict is Verdict.FAILED
    (told,) = (m for m in report.measures if m.outcome is Outcome.FAILS and m.pooled)
    assert (told.tolerance, told.baseline_version) == (0.2, 3)


def of_sizes(*sizes: int) -> EvaluationPlan:
    """The examination of an update of the newest of earlier ones, of these numbers of images."""
    line, earlier = ROOT, list[HeldOutUpdate]()
    for number, images in enumerate(sizes, start=2):
        names = (f"a{number}", f"b{number}")
        line = taught(line, number, names)
        held_out = entries(f"of {number}", [(name,) for name in names] * (images // 2))
        earlier.append(HeldOutUpdate(version=line, holdout=held_out, passed=True))
    newest = taught(line, len(sizes) + 2, ("boot",))
    own = HeldOutUpdate(version=newest, holdout=entries("own", [("boot",)] * 10))
    limits = policy(minimum_count=350)
    emoji = suite("emoji", entries("emoji", [("cat",), ("sun",)] * 200), SuiteKind.ZERO_SHOT)
    return second_update(candidate=own, parent=line, earlier=earlier, suites=[emoji], policy=limits)


@pytest.mark.parametrize(("tiny", "of", "beside"), [(5, 6, 3), (4, 40, 5)])
def test_updates_that_are_all_tiny_are_not_forgotten_among_larger_ones(
    tiny: int, of: int, beside: int
) -> None:
    """Alone nothing is asked of each, and in the pool of all they are a few points."""
    plan = of_sizes(*[of] * tiny, *[340] * beside)

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        name = question.entries[index].class_name
        if name == "boot" or who != plan.candidate:
            return name != "boot" or who == plan.candidate
        return not (name[1:].isdecimal() and int(name[1:]) < 2 + tiny)

    report = report_of(plan, right)
    failing = {(m.kind, m.name, m.pooled) for m in report.measures if m.outcome is Outcome.FAILS}
    assert (MeasureKind.HOLDOUTS, f"{tiny} updates", True) in failing
    assert report.verdict is Verdict.FAILED
