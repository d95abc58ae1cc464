"""Comparisons of two versions by answers with known flips."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from core.comparison.answers import (
    AnsweredQuery,
    Comparison,
    Confusion,
    Flip,
    FlipKind,
    compare,
    flips,
)
from core.datasets.manifests import ManifestEntry
from core.evaluation.answers import ClassAnswers, RetrievalAnswers
from core.evaluation.queries import ClassQuery, EvalQuery, NamedQuery, RetrievalQuery
from core.gate.kinds import ClassList, MeasureKind
from core.gate.measures import Measure
from core.recipes.fields import DEFAULT_PROMPT
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    FIRST,
    SECOND,
    answered,
    entries,
    policy,
    report_of,
    second_update,
)

Right = Callable[[Version, EvalQuery, int], bool]

CLASSES = ("cat", "dog", "sun")


def some_wrong(who: Version, question: EvalQuery, index: int) -> bool:
    return (index + who.number) % (who.number + 2) > 0


def pairs(right: Right) -> list[AnsweredQuery]:
    """Return the answers of versions 2 and 3 to the queries of version 3's evaluation."""
    plan = second_update()
    answers = answered(plan, right)
    asked = [NamedQuery(name=suite.name, query=suite.own) for suite in plan.zero_shot]
    asked += [NamedQuery(name=suite.name, query=suite.own) for suite in plan.retrieval]
    asked += [
        NamedQuery(name=each.exam.name, holdout=True, query=each.exam.own) for each in plan.holdouts
    ]
    return [
        AnsweredQuery(
            asked=one,
            before=answers[FIRST.digest, one.query.digest],
            now=answers[SECOND.digest, one.query.digest],
        )
        for one in asked
    ]


def compared(right: Right) -> Comparison:
    return compare(pairs(right), before=2, now=3, alpha=0.005)


def predicted(before: Sequence[int], now: Sequence[int], *names: str) -> AnsweredQuery:
    """Return images of these classes with the classes that both versions predicted."""
    images = entries("animals", [(name,) for name in names])
    query = ClassQuery(entries=images, classes=CLASSES, prompt=DEFAULT_PROMPT)
    return AnsweredQuery(
        asked=NamedQuery(name="animals", query=query),
        before=ClassAnswers(predicted=tuple(before)),
        now=ClassAnswers(predicted=tuple(now)),
    )


def test_measures_are_those_by_which_the_gate_judges() -> None:
    report = report_of(second_update(policy=policy(views=0)), some_wrong)
    judged = [
        ruling
        for ruling in report.measures
        if ruling.baseline_version == 2 and ruling.asked is ClassList.OWN
    ]
    every = [one for one in compared(some_wrong).measures if not one.formerly_right]
    found = {(one.kind, one.name, one.depth): one for one in every}
    assert len(judged) == 7  # of captions R@1 and R@5
    for measure in judged:
        own = measure.kind is MeasureKind.GAIN
        kind = MeasureKind.HOLDOUT if own else measure.kind
        same = found[kind, measure.name, measure.depth]
        unlimited = replace(measure, kind=kind, tolerance=0.0, baseline="version 2", classes=None)
        unlimited = replace(unlimited, by_one_answer=0, uncounted=0)  # which nobody asks here
        unlimited = replace(unlimited, untaught=None, ungained=None, class_mean=None, losing=None)
        effect = same.design_effect  # a little larger at the level of one of several looks
        alone = replace(unlimited, level=None, design_effect=effect).bounded(0.005, 1)
        assert vars(same).items() <= vars(alone).items()


def test_formerly_right_answers_are_measured_alone() -> None:
    def only(measures: Sequence[Measure], *, flips: bool) -> Measure:
        (found,) = [m for m in measures if m.name == "emoji" and m.formerly_right is flips]
        return found

    measures = compared(some_wrong).measures
    whole, right = only(measures, flips=False), only(measures, flips=True)
    assert (right.count, right.lost, right.gained) == (whole.right_before, whole.lost, 0)
    assert right.count < whole.count
    none_right = compared(lambda who, *_: who is not FIRST).measures
    assert not any(measure.formerly_right for measure in none_right)


def test_several_holdouts_are_also_measured_together_and_an_image_counts_once() -> None:
    two = pairs(some_wrong)[2:]
    (pooled,) = [m for m in compared(some_wrong).measures if m.kind is MeasureKind.HOLDOUTS]
    assert (pooled.name, pooled.images) == ("2 updates", 40)
    (again,) = [
        m
        for m in compare([*two, two[1]], before=2, now=3, alpha=0.005).measures
        if m.kind is MeasureKind.HOLDOUTS
    ]
    assert again.images == 40
    alone = compare(two[:1], before=2, now=3, alpha=0.005)
    assert {measure.kind for measure in alone.measures} == {MeasureKind.HOLDOUT}


def test_changes_by_class_are_those_of_the_report() -> None:
    report = report_of(second_update(), some_wrong)
    judged = {table.name: table.classes for table in report.changes if table.baseline_version == 2}
    found = {table.name: table.classes for table in compared(some_wrong).changes}
    assert found == judged
    assert set(found) == {"emoji", "version 2", "version 3"}


def test_recalls_of_both_versions_are_those_of_the_report() -> None:
    report = report_of(second_update(), some_wrong)
    roles = {"before": "parent", "now": "candidate"}
    found = {replace(row, role=roles[row.role]) for row in compared(some_wrong).recalls}
    assert found == {row for row in report.recalls if row.role in roles.values()}


def test_flips_name_image_class_and_both_answers() -> None:
    one = predicted([0, 1, 2, 1, 3], [0, 2, 1, 1, 1], "cat", "dog", "dog", "dog", "dog")
    pixels = [entry.pixels for entry in one.asked.query.entries]
    wanted = [
        (FlipKind.LOST, pixels[1], "dog", "sun"),
        (FlipKind.GAINED, pixels[2], "sun", "dog"),
        (FlipKind.GAINED, pixels[4], None, "dog"),  # the features were not finite
    ]
    assert flips([one]) == [
        Flip(kind=kind, name="animals", pixels=image, class_name="dog", before=old, now=new)
        for kind, image, old, new in sorted(wanted, key=lambda row: row[1])
    ]


def test_flips_of_captions_have_ranks_in_both_directions() -> None:
    images = entries("shapes", [("a ring", "a circle"), ("a dot",), ("a line", "a stroke")])
    one = AnsweredQuery(
        asked=NamedQuery(name="shapes", query=RetrievalQuery(entries=images)),
        before=RetrievalAnswers(image_ranks=(0, 0, 4), caption_ranks=(0, 1, 0, 0, 2)),
        now=RetrievalAnswers(image_ranks=(0, 3, 0), caption_ranks=(0, 0, 2, 1, 1)),
    )
    ring, dot, line = (entry.pixels for entry in images)
    lost, gained = FlipKind.LOST, FlipKind.GAINED
    assert sorted(flips([one]), key=lambda flip: images_of(flip, images)) == [
        Flip(kind=kind, name="shapes", pixels=image, caption=caption, place=place, **ranks(*both))
        for kind, image, caption, place, *both in (
            (gained, ring, "a circle", 2, 1, 0),
            (lost, dot, None, 0, 0, 3),
            (lost, dot, "a dot", 1, 0, 2),
            (gained, line, None, 0, 4, 0),
            (lost, line, "a line", 1, 0, 1),
        )
    ]
    found = compare([one], before=2, now=3, alpha=0.005)
    assert [flip.rank_now for flip in found.fallen] == [3, 2, 1]
    assert (found.lost, found.gained) == (3, 2)


def images_of(flip: Flip, images: Sequence[ManifestEntry]) -> tuple[int, int]:
    """Return the place of a flip among images, and among the captions of its image."""
    return [entry.pixels for entry in images].index(flip.pixels), flip.place


def ranks(before: int, now: int) -> dict[str, int]:
    return {"rank_before": before, "rank_now": now}


def test_flips_are_sorted_by_suite_and_image_and_counted() -> None:
    found = flips(pairs(some_wrong))
    assert found == sorted(found, key=lambda flip: (flip.name, flip.pixels, flip.place))
    assert len({flip.key for flip in found}) == len(found)
    assert {flip.name for flip in found} == {"emoji", "shapes", "version 2", "version 3"}
    comparison = compared(some_wrong)
    assert comparison.lost == sum(flip.kind is FlipKind.LOST for flip in found)
    assert comparison.gained == sum(flip.kind is FlipKind.GAINED for flip in found)
    assert 0 < comparison.lost < len(found)


def test_confusions_are_signed_and_the_largest_come_first() -> None:
    one = predicted([1, 1, 2, 0, 3], [2, 2, 2, 2, 0], "cat", "cat", "cat", "dog", "dog")
    (table,) = compare([one], before=2, now=3, alpha=0.005).confusions
    rows = [
        ("cat", "dog", 2, 0),
        ("cat", "sun", 1, 3),
        ("dog", None, 1, 0),
        ("dog", "sun", 0, 1),
    ]
    assert table.name == "animals"
    assert list(table.cells) == [
        Confusion(class_name=name, predicted=other, before=old, now=new, change=new - old)
        for name, other, old, new in rows
    ]


@pytest.mark.parametrize("name", ["Cat", "cat"])
def test_a_name_in_another_case_is_no_confusion(name: str) -> None:
    one = predicted([1], [0], name)
    (table,) = compare([one], before=2, now=3, alpha=0.005).confusions
    assert [(cell.predicted, cell.change) for cell in table.cells] == [("dog", -1)]


def test_an_answer_with_the_same_meaning_is_right_and_no_confusion() -> None:
    one = predicted([1, 0], [0, 1], "cat", "cat")
    found = compare([one], before=2, now=3, alpha=0.005)
    assert (found.lost, found.gained, len(found.confusions[0].cells)) == (1, 1, 0)
    assert len(compare([predicted([1], [0], "cat")], before=2, now=3, alpha=0.005).flips) == 1
    same = replace(one, meanings={"cat": "dog", "dog": "dog"})
    found = compare([same], before=2, now=3, alpha=0.005)
    assert (found.flips, found.confusions[0].cells) == ((), ())
    assert {(one.lost, one.gained) for one in found.measures} == {(0, 0)}
    assert {one.difference for one in found.changes[0].classes} == {0.0}


def test_captions_have_no_confusions_and_no_classes() -> None:
    captioned = [one for one in pairs(some_wrong) if isinstance(one.asked.query, RetrievalQuery)]
    comparison = compare(captioned, before=2, now=3, alpha=0.005)
    assert (comparison.changes, comparison.confusions) == ((), ())
    assert len(comparison.recalls) == 4
