"""Views of the images decide whether a measure holds; single images decide the rest."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.evaluation.answers import ClassAnswers
from core.evaluation.judge import build_report
from core.evaluation.judge_again import judge_again
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import ClassQuery
from core.evaluation.report import Report
from core.gate.intervals import quantile, score_bound
from core.gate.kinds import ClassList, MeasureKind, Outcome
from core.gate.measures import Ruling
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    FIRST,
    SECOND,
    THIRD,
    answered,
    learned,
    policy,
    right,
    second_update,
    third_update,
)

VIEWS = 4

Seen = Callable[[Version, ClassQuery, int], int]  # how many views of an image are right


def seen(plan: EvaluationPlan, views: Seen, single: Callable[..., bool] = right) -> Report:
    """The report when the versions have so many views of each image right."""
    answers = answered(plan, single)
    for who, questions in plan.questions:
        for asked in questions:
            found = answers[who.digest, asked.digest]
            if isinstance(asked, ClassQuery) and isinstance(found, ClassAnswers):
                truths = answered(plan, right)[who.digest, asked.digest]
                assert isinstance(truths, ClassAnswers)
                counts = [views(who, asked, n) for n in range(len(asked.entries))]
                given = [
                    tuple(
                        truth if view < counts[n] else (truth + 1) % len(asked.classes)
                        for n, truth in enumerate(truths.predicted)
                    )
                    for view in range(VIEWS)
                ]
                answers[who.digest, asked.digest] = replace(found, views=tuple(given))
    return build_report(
        plan, answers, previous=None, spending={}, judged_before=0, near_duplicates=0
    )


def emoji_of(report: Report, asked: ClassList = ClassList.OWN) -> Ruling:
    return next(m for m in report.measures if m.name == "emoji" and m.asked is asked)


def one_view_lost(who: Version, asked: ClassQuery, index: int) -> int:
    """The candidate has one view of every fourth image wrong, the others none."""
    return VIEWS - 1 if who is SECOND and index % 4 == 0 else VIEWS


def test_changes_are_summed_over_images_and_views_count_for_half() -> None:
    plan = second_update(policy=policy(views=VIEWS))
    found = emoji_of(seen(plan, one_view_lost))
    assert (found.gained, found.lost, found.difference) == (0, 0, 0.0)
    assert found.soft is not None
    assert (found.soft.views, found.soft.gained) == (VIEWS, 0)
    assert found.soft.lost == pytest.approx(10 / 4 / 2)  # of 40 images, ten lost a view of four
    assert found.soft.design_effect < 1


def test_a_measure_that_single_images_leave_open_holds_by_views() -> None:
    """Of 40 images, two are lost and two gained; of their views, most stay as they were."""

    def single(who: Version, asked: object, index: int) -> bool:
        return index not in ({0, 1} if who is SECOND else {2, 3})

    def views(who: Version, asked: ClassQuery, index: int) -> int:
        return VIEWS if index > 3 else VIEWS // 2

    limits = {"parent_tolerance": 0.05, "root_tolerance": 0.05, "alpha": 0.125}
    alone, together = (
        emoji_of(seen(second_update(policy=policy(views=n, **limits)), views, single))
        for n in (0, VIEWS)
    )
    assert (alone.outcome, alone.soft) == (Outcome.OPEN, None)
    assert together.outcome is Outcome.HOLDS
    told = ("gained", "lost", "difference", "interval_lower", "upper")
    assert [getattr(alone, name) for name in told] == [getattr(together, name) for name in told]
    assert alone.lower < together.lower < 0


def test_a_measure_that_single_images_fail_fails_whatever_the_views_say() -> None:
    def single(who: Version, asked: object, index: int) -> bool:
        return who is not SECOND or index % 2 == 0

    plan = second_update(policy=policy(views=VIEWS))
    found = emoji_of(seen(plan, lambda *_: VIEWS, single))
    assert found.outcome is Outcome.FAILS


def lost_on_images_alone(count: int, tolerance: float) -> Ruling:
    """So many of 40 images are lost; their views are as they were."""

    def single(who: Version, asked: object, index: int) -> bool:
        return who is not SECOND or index >= count

    limits = {"parent_tolerance": tolerance, "root_tolerance": tolerance}
    plan = second_update(policy=policy(views=VIEWS, alpha=0.4, **limits))
    report = seen(plan, lambda *_: 0, single)
    found = emoji_of(report)
    told = "On emoji, significantly more was lost on the images themselves" in str(report.reasons)
    assert told is (found.outcome is Outcome.OPEN and not found.holds_by_views)
    return found


def test_single_images_that_lost_more_than_is_allowed_do_not_hold_by_their_views() -> None:
    found = lost_on_images_alone(2, 0.04)
    assert score_bound(found.deciding, quantile(0.4)) > -0.04
    assert found.outcome is Outcome.OPEN
    assert found.lower == pytest.approx(found.difference)


def test_where_images_lose_significantly_more_than_their_views_single_images_alone_decide() -> None:
    """Two of 40 may be chance. Three are 1.7 standard errors."""
    by_views, alone = lost_on_images_alone(2, 0.076), lost_on_images_alone(3, 0.076)
    assert by_views.soft is not None
    assert alone.soft is not None
    assert by_views.soft.deficit == pytest.approx(2**0.5)
    assert alone.soft.deficit == pytest.approx(3**0.5)
    assert (by_views.holds_by_views, by_views.outcome) == (True, Outcome.HOLDS)
    assert (alone.holds_by_views, alone.outcome) == (False, Outcome.OPEN)
    assert alone.level is not None
    assert alone.lower == score_bound(alone.flips, quantile(alone.level)) < alone.difference


def without_views(plan: EvaluationPlan, version: Version) -> Report:
    """The report when one version has not answered any views."""
    answers = {
        (who, asked): replace(given, views=())
        if who == version.digest and isinstance(given, ClassAnswers)
        else given
        for (who, asked), given in answered(plan, learned).items()
    }
    return build_report(
        plan, answers, previous=None, spending={}, judged_before=0, near_duplicates=0
    )


def test_comparison_with_a_version_without_views_is_judged_by_single_images_and_says_so() -> None:
    report = without_views(third_update(policy=policy(views=VIEWS)), FIRST)
    of_classes = [m for m in report.measures if m.kind is not MeasureKind.GAIN and m.classes]
    of_classes = [m for m in of_classes if not m.only_fails]
    single = {(m.name, m.baseline) for m in of_classes if m.soft is None}
    assert single == {(name, "settled version") for name in ("version 2", "2 updates")}
    pool = [m for m in report.measures if m.kind is MeasureKind.HOLDOUTS]
    assert {m.baseline: m.soft is None for m in pool if m.asked is ClassList.OWN} == {
        "parent": False,
        "settled version": True,  # of which one has no views
    }


def test_retrieval_gains_default_lists_and_negative_flips_are_judged_by_single_images() -> None:
    plan = third_update(policy=policy(views=VIEWS, negative_flips=0.1))
    report = without_views(plan, THIRD)
    assert {m.soft for m in report.measures} == {None}
    report = seen(plan, lambda *_: VIEWS)
    single = [m for m in report.measures if m.soft is None and not m.formerly_right]
    assert {m.kind for m in single if not m.only_fails} == {
        MeasureKind.GAIN,
        MeasureKind.IMAGE_TO_TEXT,
        MeasureKind.TEXT_TO_IMAGE,
    }
    by_default = [m.name for m in single if m.only_fails and m.depth == 1]
    assert by_default == ["emoji", "version 2", "version 3", "2 updates"]
    assert all(m.soft is None for m in report.measures if m.formerly_right)


def test_the_same_measures_under_another_policy_keep_their_views_unless_it_has_none() -> None:
    plan = second_update(policy=policy(views=VIEWS, alpha=0.1))
    report = seen(plan, one_view_lost)
    again = judge_again(report, plan.policy)
    assert [m.lower for m in again.measures] == [m.lower for m in report.measures]
    alone = judge_again(report, policy(views=0, alpha=0.1))
    assert {m.soft for m in alone.measures} == {None}
    emoji = next(m for m in alone.measures if m.name == "emoji")
    assert emoji.level is not None
    assert emoji.lower == score_bound(emoji.flips, quantile(emoji.level))
