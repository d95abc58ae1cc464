"""Holdouts of updates of captions: small ones are searched for among all, and judged together."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest

from core.evaluation.answers import RetrievalAnswers, ranks_of
from core.evaluation.comparisons import comparisons
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge import build_report
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import EvalQuery, RetrievalQuery
from core.gate.guards import is_guard
from core.gate.kinds import DIRECTIONS, ClassList, MeasureKind, Outcome
from core.gate.measures import Ruling
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    ROOT,
    answered,
    entries,
    line_of_captions,
    policy,
    report_of,
    second_update,
    taught,
)

BOTH = {(5, "version 2"), (5, "version 2, own gallery")}


def settled_apart(**limits: int) -> EvaluationPlan:
    """Three updates of captions, of 20, 30 and 10 images, are judged after a fourth."""
    return line_of_captions(20, 30, 10, 8, policy=policy(**limits))


def test_small_ones_are_searched_for_among_all_captions_and_large_ones_among_their_own() -> None:
    plan = settled_apart(minimum_count=20)  # of distinct images, the second has more
    rows = report_of(plan, lambda *_: True).recalls
    everything = {e.pixels for one in plan.kept_captions for e in one.exam.own.entries}
    everything |= {e.pixels for suite in plan.retrieval for e in suite.own.entries}
    galleries = {row.suite: row.gallery for row in rows if row.direction == "text_to_image"}
    large = len(plan.kept_captions[1].exam.own.entries)
    assert galleries["version 2"] == galleries["version 4"] == len(everything)
    assert galleries["version 3"] == large < len(everything)
    assert plan.own_captions is not None
    assert galleries["version 5"] == len(plan.own_captions.exam.own.entries)


def test_ranks_among_all_captions_are_those_of_the_holdouts_own_searches() -> None:
    first = entries("first", [("a dot",), ("a ring", "a circle")])
    part = RetrievalQuery(entries=first[1:])
    whole = RetrievalQuery(entries=first)
    answers = RetrievalAnswers(image_ranks=(4, 1), caption_ranks=(3, 0, 2))
    found = ranks_of(part, whole, answers)
    assert found == RetrievalAnswers(image_ranks=(1,), caption_ranks=(0, 2))


def test_several_small_ones_show_together_what_none_shows_alone() -> None:
    plan = settled_apart(minimum_count=150)

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return who != plan.candidate or index % 12 > 0

    report = report_of(plan, right)
    found = [one for one in report.measures if one.baseline == "parent"]
    found = [one for one in found if " " in one.name and (one.depth, one.asked) == (1, "own")]
    for kind, gallery in product(DIRECTIONS, ("", ", own gallery")):
        of_kind = [one for one in found if one.kind is kind]
        of_kind = [one for one in of_kind if one.name.endswith("own gallery") is bool(gallery)]
        [together] = [one for one in of_kind if not one.pooled]
        assert together.name == f"3 captioned updates{gallery}"
        assert together.outcome is Outcome.OPEN
        names = [one.name.removesuffix(gallery) for one in of_kind if one.pooled]
        names = [name for name in names if " updates" not in name]
        assert names == ["version 2", "version 3"]  # and 4, with its settled version
        assert all(one.outcome is Outcome.HOLDS for one in of_kind if one.pooled)
    assert any("own gallery against the settled versions changed" in one for one in report.reasons)


@pytest.mark.parametrize(("fewest", "answers"), [(1, 140), (2, 280)])
def test_an_update_with_many_captions_of_each_image_weighs_no_more_than_others_in_a_pool(
    fewest: int, answers: int
) -> None:
    """Of 40 images all captions are lost from text to image, beside 100 with nine captions."""
    line, before = list[HeldOutUpdate](), ROOT
    for number, images, captions in (2, 20, fewest), (3, 20, 5), (4, 100, 9), (5, 10, 1):
        before = taught(before, number, ())
        texts = [tuple(f"{number} {n} {one}" for one in range(captions)) for n in range(images)]
        held_out = entries(f"captioned {number}", texts)
        line.append(HeldOutUpdate(version=before, holdout=(), captions=held_out))
    *earlier, own = line
    lost = {image.pixels for one in earlier[:2] for image in one.captions}
    plan = second_update(
        candidate=own,
        parent=earlier[-1].version,
        earlier=earlier,
        policy=policy(minimum_count=200),
    )

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return who != plan.candidate or question.entries[index].pixels not in lost

    for one in report_of(plan, right).measures:
        together = one.name.startswith("3 captioned updates") and one.depth == 1
        if together and one.baseline == "parent":
            to_image = one.kind is MeasureKind.TEXT_TO_IMAGE
            assert (one.distinct, one.count) == (140, answers if to_image else 140)
            assert one.difference == -40 / 140


def test_small_ones_are_asked_in_both_galleries_and_settled_versions_in_their_own() -> None:
    plan = settled_apart(minimum_count=100)
    first, *_ = plan.kept_captions
    asked = {
        (one.name, one.baseline): exam
        for one in comparisons(plan)
        for exam, _ in one.pairs
        if one.name.startswith("version 2")
    }
    alone = first.exam.alone
    assert asked == {
        ("version 2", "parent"): first.exam,
        ("version 2, own gallery", "parent"): alone,
        ("version 2, own gallery", "settled version"): alone,
    }
    answered = {version.number: set(queries) for version, queries in plan.questions}
    assert (
        first.exam.over(ClassList.OWN) in answered[plan.parent.number] & answered[plan.root.number]
    )
    assert first.exam.over(ClassList.OWN) not in answered[first.learner.number]


@pytest.mark.parametrize(("each", "outcome"), [(2, Outcome.FAILS), (8, Outcome.OPEN)])
def test_what_is_lost_in_the_own_gallery_counts_where_all_versions_find_others_images_first(
    each: int, outcome: Outcome
) -> None:
    """As when a later update has taught better pictures of the same things."""
    plan = line_of_captions(60, 8, policy=policy(minimum_count=100))
    [first] = plan.kept_captions

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        if question == first.exam.own:
            return who != plan.candidate or index % each > 0
        return question != first.exam.over(ClassList.OWN)

    found = {
        one.name: one
        for one in report_of(plan, right).measures
        if (one.kind, one.depth) == (DIRECTIONS[0], 1) and "parent" in one.baseline
    }
    assert found["version 2"].outcome is Outcome.HOLDS
    assert found["version 2, own gallery"].outcome is outcome


def test_tiny_updates_of_captions_are_not_forgotten_among_larger_ones() -> None:
    plan = line_of_captions(*[6] * 5, 340, 340, 8, policy=policy(minimum_count=350))
    tiny = {image.pixels for one in plan.kept_captions[:5] for image in one.exam.own.entries}

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        is_captions = isinstance(question, RetrievalQuery)
        return who != plan.candidate or not (is_captions and question.entries[index].pixels in tiny)

    judged = [one for one in report_of(plan, right).measures if one.kind is DIRECTIONS[0]]
    fails = {one.name for one in judged if one.outcome is Outcome.FAILS}
    assert fails == {"5 captioned updates", "5 captioned updates, own gallery"}


def test_a_sure_loss_among_the_first_five_fails_a_version_and_a_doubtful_one_does_nothing() -> None:
    plan = line_of_captions(90, 8, policy=policy(minimum_count=1000))

    def rulings(rank: int, *, each: int) -> Sequence[Ruling]:
        """Let the candidate give one in `each` images its caption at a rank, others at rank 1."""
        answers = answered(plan, lambda *_: True)
        for who, queries in plan.questions:
            for query in queries:
                found = answers[who.digest, query.digest]
                if isinstance(found, RetrievalAnswers):
                    apart = rank if who == plan.candidate else 1
                    images = range(len(found.image_ranks))
                    answers[who.digest, query.digest] = replace(
                        found, image_ranks=tuple(apart * (n % each == 0) for n in images)
                    )
        report = build_report(
            plan, answers, previous=None, spending={}, judged_before=0, near_duplicates=0
        )
        return [one for one in report.measures if one.kind is MeasureKind.IMAGE_TO_TEXT]

    for rank, each, failed in ((4, 2, set()), (5, 2, BOTH), (5, 12, set())):
        found = rulings(rank, each=each)
        fails = [one for one in found if one.outcome is Outcome.FAILS]
        assert {(one.depth, one.name) for one in fails if one.name != "shapes"} == failed
        assert all(one.outcome is Outcome.HOLDS for one in found if one not in fails)
    deep = [one for one in rulings(5, each=12) if one.depth == 5]
    assert any(one.difference < -one.tolerance for one in deep)
    assert not any(is_guard(one, 1) for one in deep)


def test_the_first_five_of_the_own_holdout_may_lose_nothing_and_need_not_gain() -> None:
    plan = line_of_captions(20, 60, policy=policy(wanted_gain=0.3))

    def gains(now: int) -> tuple[Outcome, ...]:
        """Let the parent find half, each at rank 0 or else 4; the candidate the others at `now`."""
        answers = answered(plan, lambda *_: True)
        own = plan.own_captions
        assert own is not None
        for who, rank in ((plan.parent, 4), (plan.candidate, now)):
            found = answers[who.digest, own.exam.own.digest]
            assert isinstance(found, RetrievalAnswers)
            ranks = (found.image_ranks, found.caption_ranks)
            first, second = (tuple(rank * (n % 2) for n in range(len(each))) for each in ranks)
            answers[who.digest, own.exam.own.digest] = RetrievalAnswers(
                image_ranks=first, caption_ranks=second
            )
        report = build_report(
            plan, answers, previous=None, spending={}, judged_before=0, near_duplicates=0
        )
        return tuple(m.outcome for m in report.measures if m.kind is MeasureKind.GAIN)

    assert gains(0) == (Outcome.HOLDS, Outcome.HOLDS)
    assert gains(5)[1] is Outcome.FAILS
