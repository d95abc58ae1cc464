"""Holdouts of updates of captions: small ones are searched for among all, and judged together."""

from core.evaluation.comparisons import comparisons
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import EvalQuery, RetrievalAnswers, RetrievalQuery, ranks_of
from core.gate.measures import DIRECTIONS, Outcome
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    entries,
    line_of_captions,
    policy,
    report_of,
)


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

    found = [one for one in report_of(plan, right).measures if one.baseline == "parent"]
    found = [one for one in found if " " in one.name]
    for kind in DIRECTIONS:
        of_kind = [one for one in found if one.kind is kind]
        [together] = [one for one in of_kind if not one.pooled]
        assert together.name == "3 captioned updates"
        assert together.outcome is Outcome.OPEN
        alone = [one for one in of_kind if one.pooled]
        assert [one.name for one in alone] == ["version 2", "version 3"]  # and 4, with its settled
        assert all(one.outcome is Outcome.HOLDS for one in alone)


def test_a_settled_version_further_back_is_compared_with_in_the_holdouts_own_gallery() -> None:
    plan = settled_apart(minimum_count=100)
    first, *_ = plan.kept_captions
    asked = {
        one.baseline: exam
        for one in comparisons(plan)
        for exam, _ in one.pairs
        if one.name == "version 2"
    }
    assert asked == {"parent": first.exam, "settled version": first.exam.alone}
    answered = {version.number: set(queries) for version, queries in plan.questions}
    assert first.exam.asked in answered[plan.parent.number] & answered[plan.root.number]
    assert first.exam.asked not in answered[first.learner.number]
