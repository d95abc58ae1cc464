"""Limits of a policy beyond one difference: the error of a line, and negative flips."""

from dataclasses import replace
from typing import Any

import pytest

from core.evaluation.judge_again import judge_again
from core.evaluation.paired_hits import PairedHits
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.report import Report
from core.gate.intervals import quantile, score
from core.gate.kinds import ClassList, MeasureKind, Outcome
from core.gate.levels import LOOK_SHARES
from core.gate.measures import Measure
from core.gate.rules import Verdict
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    FIRST,
    ROOT,
    SECOND,
    by_turns,
    forgets_cats,
    learned,
    policy,
    report_of,
    right,
    second_update,
    third_update,
)
from tests.support.factories import digest

FIRST_LOOK = LOOK_SHARES[0]


def limited(**changes: Any) -> EvaluationPlan:
    return second_update(policy=policy(line_error=0.05, minimum_count=20, **changes))


def levels(report: Report) -> dict[tuple[str, str], tuple[int | None, float | None]]:
    return {(m.kind.value, m.name): (m.verdicts, m.level) for m in report.measures}


# ---- The line's budget --------------------------------------------------------------


def test_every_guard_has_the_level_of_its_own_verdict_and_the_gain_spends_nothing() -> None:
    plan = limited()
    emoji, (first, _) = plan.zero_shot[0], plan.holdouts
    verdicts = {emoji.own.digest: 100, first.exam.own.digest: 2}
    report = report_of(plan, right, verdicts=verdicts)
    # the same images over more classes are no fresh ones
    for asked in ClassList:
        of_one_list = [m for m in report.measures if m.asked is asked]
        found = {(m.name, m.verdicts) for m in of_one_list if m.kind is not MeasureKind.GAIN}
        assert (("version 2", 2) in found) is (asked is not ClassList.LEARNED)
        assert found <= {("emoji", 100), ("shapes", 1), ("version 2", 2)}
    found = levels(report)
    assert found == {
        ("zero_shot", "emoji"): (100, pytest.approx(FIRST_LOOK * 5 / 39_800)),
        ("image_to_text", "shapes"): (1, pytest.approx(FIRST_LOOK * 5 / 10_100)),
        ("text_to_image", "shapes"): (1, pytest.approx(FIRST_LOOK * 5 / 10_100)),
        ("holdout", "version 2"): (2, pytest.approx(FIRST_LOOK * 5 / 10_302)),
        ("gain", "version 3"): (None, 0.05),
    }


def test_pooled_holdouts_spend_as_the_one_that_has_judged_most() -> None:
    plan = third_update(policy=policy(line_error=0.05))
    older, newer, _ = (holdout.exam.own.digest for holdout in plan.holdouts)
    found = levels(report_of(plan, right, verdicts={older: 9, newer: 8}))
    assert found["holdouts", "2 updates"] == (9, pytest.approx(FIRST_LOOK * 5 / (108 * 109)))
    assert found["holdout", "version 3"] == (8, pytest.approx(FIRST_LOOK * 5 / (107 * 108)))


def test_report_has_what_is_spent_and_left_by_suite_and_holdout() -> None:
    plan = limited()
    report = report_of(plan, right, verdicts={plan.zero_shot[0].own.digest: 100})
    emoji, _, holdout = report.budgets
    assert (emoji.name, emoji.verdicts, emoji.level) == (
        "emoji",
        100,
        pytest.approx(FIRST_LOOK * 5 / 39_800),
    )
    assert (emoji.spent, emoji.left) == (0.025, 0.025)
    assert (holdout.name, holdout.verdicts) == ("version 2", 1)
    assert holdout.spent + holdout.left == pytest.approx(0.05)


@pytest.mark.parametrize(("tolerance", "worn_out"), [(0.14, False), (0.15, True), (0.25, False)])
def test_report_says_which_images_are_worn_out(tolerance: float, worn_out: bool) -> None:
    # 40 unchanged images hold 14.3 points at 0.5 %, and 21.4 at the level of the first verdict.
    plan = limited(parent_tolerance=tolerance, root_tolerance=1.0)
    emoji, *_ = report_of(plan, right).budgets
    assert emoji.worn_out is worn_out


def test_captions_are_clustered_at_the_level_of_their_verdict() -> None:
    plan = limited(negative_flips=0.04)
    suite = plan.retrieval[0].own
    captions, flipped, _ = (  # the last is of R@5
        r
        for r in report_of(plan, by_turns, verdicts={suite.digest: 100}).measures
        if (r.kind, r.baseline, r.asked) == (MeasureKind.TEXT_TO_IMAGE, "parent", "own")
    )
    images = [i for i, entry in enumerate(suite.entries) for _ in entry.texts]
    hits = PairedHits(
        now=[by_turns(SECOND, suite, i) for i in images],
        before=[by_turns(FIRST, suite, i) for i in images],
        groups=[suite.entries[i].group for i in images],
    )
    assert captions.design_effect == hits.design_effect(FIRST_LOOK * 5 / 39_800)
    assert flipped.design_effect == hits.formerly_right.design_effect(FIRST_LOOK * 5 / 39_800)
    at_alpha, of_all = hits.design_effect(0.005), captions.design_effect
    assert len({at_alpha, of_all, flipped.design_effect}) == 3


# ---- Negative flips -----------------------------------------------------------------


def flips(report: Report) -> list[Measure]:
    return [r for r in report.measures if r.formerly_right]


def test_flips_are_judged_on_suites_against_what_users_had() -> None:
    found = flips(report_of(second_update(policy=policy(negative_flips=0.04)), by_turns))
    assert [(m.kind.value, m.name, m.baseline, m.tolerance) for m in found] == [
        ("zero_shot", "emoji", "parent", 0.04),
        ("image_to_text", "shapes", "parent", 0.04),
        ("text_to_image", "shapes", "parent", 0.04),
    ]
    emoji, _, captions = found
    assert (emoji.images, emoji.count, emoji.right_before) == (40, 30, 30)
    assert (emoji.right, emoji.gained, emoji.lost) == (20, 0, 10)
    assert captions.count == captions.right_before
    assert captions.design_effect > 1


def test_first_update_is_judged_against_the_root_which_is_its_parent() -> None:
    plan = second_update(parent=ROOT, earlier=[], policy=policy(negative_flips=0.04))
    assert {m.baseline for m in flips(report_of(plan, by_turns))} == {"parent and root"}


def test_where_nothing_was_right_nothing_can_flip() -> None:
    def wrong_before(who: Version, question: EvalQuery, index: int) -> bool:
        return who is SECOND or isinstance(question, ClassQuery)

    found = flips(report_of(second_update(policy=policy(negative_flips=0.04)), wrong_before))
    assert [m.kind for m in found] == [MeasureKind.ZERO_SHOT]


def test_formerly_right_answers_keep_their_images() -> None:
    one, two, three = (digest(name) for name in ("one", "two", "three"))
    hits = PairedHits(
        now=[True, False, True, False, False, True],
        before=[True, True, False, False, True, True],
        groups=[one, one, two, two, three, three],
    )
    kept = hits.formerly_right
    assert (kept.now, kept.before) == ([True, False, False, True], [True] * 4)
    assert kept.groups == [one, one, three, three]
    assert (hits.distinct, kept.distinct) == (3, 2)
    alone = PairedHits(now=[True, False], before=[False, True], groups=[one, two])
    assert alone.design_effect(0.005) == 1.0


def test_what_is_asked_of_flips_grows_with_the_answers_that_were_right() -> None:
    """Of 40 images 10 were right, one is wrong now: beyond the limit of 9 % only at full size."""

    def few_right(who: Version, question: EvalQuery, index: int) -> bool:
        return 1 <= index < 10 if who is SECOND else index < 10

    limits = {"negative_flips": 0.2, "minimum_count": 40, "parent_tolerance": 1.0}
    emoji = flips(report_of(second_update(policy=policy(**limits)), few_right))[0]
    assert (emoji.images, emoji.distinct, emoji.count, emoji.lost) == (40, 10, 10, 1)
    assert score(emoji.flips, emoji.lower) == pytest.approx(
        quantile(FIRST_LOOK * 0.005) / 4, abs=1e-6
    )
    assert emoji.holds
    assert not emoji.bounded(0.005, 10).holds


# ---- Judged again under another policy -----------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"line_error": 0.05},
        {"parent_tolerance": 0.3, "root_tolerance": 0.2, "wanted_gain": 0.1},
        {"union_tolerance": 0.3, "holdout_tolerance": 0.2, "settled_tolerance": 0.1},
        {"negative_flips": 0.1, "alpha": 0.05},
        {"line_error": 0.05, "line_updates": 2, "minimum_count": 1},
    ],
)
def test_a_report_is_judged_as_the_gate_would_have_judged_it(limits: dict[str, Any]) -> None:
    report = replace(report_of(second_update(policy=policy()), by_turns), judged_before=0)
    wanted = policy(**limits)
    there = report_of(second_update(policy=wanted), by_turns)
    again = judge_again(report, wanted)
    assert again.verdict is there.verdict
    assert len(again.measures) == len(there.measures)
    for ours, theirs in zip(again.measures, there.measures, strict=True):
        # Captions of an image depend on each other, by how much is estimated for each measure.
        if theirs.kind is not MeasureKind.TEXT_TO_IMAGE:
            assert ours == theirs
    assert judge_again(there, policy()).verdict is report.verdict


def test_a_fault_stays_one_under_any_policy() -> None:
    report = report_of(second_update(), learned)
    broken = replace(report, verdict=Verdict.FAILED, reasons=("Its scores are not finite.",))
    assert not any(ruling.outcome is Outcome.FAILS for ruling in broken.measures)
    again = judge_again(broken, policy(parent_tolerance=1.0))
    assert again.verdict is Verdict.FAILED
    assert "Its scores are not finite." in again.reasons
    failed = report_of(second_update(policy=policy(alpha=0.05)), forgets_cats)
    wide = policy(parent_tolerance=1.0, root_tolerance=1.0, class_tolerance=None)
    lenient = judge_again(failed, wide)
    assert (failed.verdict is Verdict.FAILED, lenient.verdict is Verdict.FAILED) == (True, False)
