"""The tables of a report, on answers counted by hand."""

from dataclasses import replace
from math import sqrt

import pytest

from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.report import Change, Scores, Transfer
from core.evaluation.report_tables import class_changes
from core.evaluation.results import EvaluationResults, accuracy_matrix, transfer
from core.gate.kinds import ClassList, MeasureKind
from core.recipes.fields import DEFAULT_PROMPT
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    EARLIER,
    FIRST,
    ROOT,
    SECOND,
    answered,
    entries,
    forgets_cats,
    learned,
    policy,
    report_of,
    right,
    second_update,
    taught,
    third_update,
)

Z = 1.959963984540054  # exceeded with probability 0.025


def change(now: list[bool], before: list[bool]) -> Change:
    """Return the change of a class with these answers, with two-sided 95 % intervals."""
    bags = entries("bags", [("bag",)] * len(now))
    question = ClassQuery(entries=bags, classes=("bag", "hat"), prompt=DEFAULT_PROMPT)
    (found,) = class_changes(question, now=now, before=before, alpha=0.025)
    return found


def test_change_of_a_class_counts_what_it_gained_and_lost() -> None:
    now = [True, True, True, True, False, False, False]
    before = [False, False, False, True, True, False, False]
    found = change(now, before)
    assert (found.class_name, found.images) == ("bag", 7)
    assert (found.right, found.right_before, found.gained, found.lost) == (4, 2, 3, 1)
    assert found.difference == pytest.approx(2 / 7)
    assert found.lower < 2 / 7 < found.upper


def test_accuracy_of_a_class_has_wilsons_interval_at_the_policys_level() -> None:
    found = change([True] * 3 + [False] * 7, [True] * 10)
    for bound in (found.accuracy_lower, found.accuracy_upper):
        assert abs(0.3 - bound) == pytest.approx(Z * sqrt(bound * (1 - bound) / 10))
    assert found.accuracy_lower < 0.3 < found.accuracy_upper


def test_classes_are_sorted_worst_first_of_equals_the_surest_and_then_by_name() -> None:
    names = ["sun"] * 2 + ["hat"] * 4 + ["bag"] * 2 + ["cat"]
    asked = entries("mixed", [(name,) for name in names])
    question = ClassQuery(
        entries=asked, classes=("sun", "hat", "bag", "cat"), prompt=DEFAULT_PROMPT
    )
    now = [True, False, True, True, False, False, True, False, True]
    found = class_changes(question, now=now, before=[True] * 9, alpha=0.025)
    assert [(row.class_name, row.difference) for row in found] == [
        ("hat", -0.5),
        ("bag", -0.5),
        ("sun", -0.5),
        ("cat", 0.0),
    ]


def test_changes_need_as_many_answers_as_there_are_images() -> None:
    question = ClassQuery(
        entries=entries("bags", [("bag",)] * 3), classes=("bag",), prompt=DEFAULT_PROMPT
    )
    with pytest.raises(ValueError, match="zip"):
        class_changes(question, now=[True] * 2, before=[True] * 2, alpha=0.025)


def test_class_tables_begin_with_what_the_update_taught() -> None:
    tables = report_of(second_update(), right).changes
    assert [(one.kind.value, one.name, one.baseline, one.baseline_version) for one in tables] == [
        ("gain", "version 3", "parent", 2),
        ("zero_shot", "emoji", "parent", 2),
        ("zero_shot", "emoji", "root", 1),
        ("holdout", "version 2", "parent and settled version", 2),
    ]


def test_scores_over_both_lists_are_of_every_suite_and_every_earlier_holdout() -> None:
    rows = report_of(second_update(), learned).lists
    assert [(row.kind.value, row.name, row.role, row.own, row.union) for row in rows] == [
        ("zero_shot", "emoji", "candidate", 1.0, 1.0),
        ("zero_shot", "emoji", "parent", 1.0, 1.0),
        ("zero_shot", "emoji", "root", 1.0, 1.0),
        ("holdout", "version 2", "candidate", 1.0, 1.0),
        ("holdout", "version 2", "parent", 1.0, 1.0),
        ("holdout", "version 2", "root", 0.0, 0.0),
    ]
    assert [(row.images, row.own_classes, row.union_classes) for row in rows[2:4]] == [
        (40, 4, 7),
        (20, 2, 4),
    ]


@pytest.mark.parametrize("hits", [True, False])
@pytest.mark.parametrize(
    ("suites", "holdouts"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_headline_has_a_number_for_what_was_asked_alone(
    suites: bool, holdouts: bool, hits: bool
) -> None:
    changes: dict[str, object] = {} if suites else {"suites": []}
    if not holdouts:
        changes |= {"earlier": [], "candidate": HeldOutUpdate(version=SECOND, holdout=())}
    found, share = report_of(second_update(**changes), lambda *_: hits).scores[0], float(hits)
    assert found == Scores(
        role="candidate",
        version=3,
        ut_micro=share if holdouts else None,
        ut_macro=share if holdouts else None,
        zero_shot=share if suites else None,
        average=share if suites and holdouts else None,
    )


def test_cells_of_the_matrix_are_shares_of_images_and_means_of_classes() -> None:
    held_out = entries("first", [("bag",)] * 8 + [("shirt",)] * 2)
    plan = second_update(earlier=[HeldOutUpdate(version=FIRST, holdout=held_out)])

    def knows_bags(who: Version, question: EvalQuery, index: int) -> bool:
        return question.entries[index].texts[0] == "bag"

    for row in report_of(plan, knows_bags).matrix:
        assert (row.micro, row.macro) == ((0.8, 0.0), (0.5, 0.0))


def test_first_update_of_a_line_has_learned_something_and_transferred_nothing() -> None:
    held_out = entries("first", [("bag",), ("shirt",)] * 4)
    plan = second_update(
        candidate=HeldOutUpdate(version=FIRST, holdout=held_out), parent=ROOT, earlier=[]
    )

    def bags_alone(who: Version, question: EvalQuery, index: int) -> bool:
        return who is FIRST and question.entries[index].texts[0] == "bag"

    assert report_of(plan, bags_alone).transfer == Transfer(learned=0.5)


def line(length: int) -> list[HeldOutUpdate]:
    """Updates that taught a class each after version 1, with four test images."""
    updates: list[HeldOutUpdate] = []
    before = ROOT
    for number in range(2, 2 + length):
        before = taught(before, number, (f"class {number}",))
        images = entries(f"held out {number}", [(f"class {number}",)] * 4)
        updates.append(HeldOutUpdate(version=before, holdout=images))
    return updates


def test_transfer_ahead_needs_the_parents_report_and_looks_one_update_ahead() -> None:
    updates = line(3)

    def half_ahead(who: Version, question: EvalQuery, index: int) -> bool:
        """All right from when it was learned, half right one update before."""
        if question.entries[0].texts[0] in {"cat", "a red square"}:
            return True
        ahead = int(question.entries[0].texts[0].removeprefix("class ")) - who.number
        return ahead <= 0 or (ahead == 1 and index % 2 == 0)

    third = second_update(candidate=updates[2], parent=updates[1].version, earlier=updates[:2])
    second = second_update(candidate=updates[1], parent=updates[0].version, earlier=updates[:1])
    previous = report_of(second, half_ahead)
    found = report_of(third, half_ahead, previous).transfer
    # of version 2 on the class of version 4 neither report knows anything
    assert found == Transfer(
        backward=0.0,
        backward_reference=0.0,
        forgetting=0.0,
        # the root, one update ahead of class 2, is right about none of classes 3 and 4
        forward=0.5,
        learned=1.0,
    )
    assert report_of(third, half_ahead).transfer.forward is None


def test_forgetting_needs_every_cell_since_a_task_was_learned() -> None:
    updates = line(4)
    fourth = second_update(candidate=updates[3], parent=updates[2].version, earlier=updates[:3])
    found = report_of(fourth, right).transfer
    # how version 3 did on version 2's task stands in older reports alone
    assert found.forgetting is None
    assert (found.backward, found.learned) == (0.0, 1.0)


def test_transfer_is_not_made_up_where_an_answered_cell_is_missing() -> None:
    plan = second_update()
    sheet = EvaluationResults(plan=plan, answers=answered(plan, right))
    matrix = accuracy_matrix(sheet, None)
    last = replace(matrix[-1], macro=(1.0, None))
    with pytest.raises(ValueError, match=r"^a cell that this evaluation fills is missing$"):
        transfer(sheet, (*matrix[:-1], last))


def captions_differ(who: Version, question: EvalQuery, index: int) -> bool:
    """Of images with 2, 1 and 3 captions in turn, each version is right about its own."""
    if isinstance(question, ClassQuery):
        return True
    return index % 3 in {1: (0, 1), 2: (2,), 3: (0, 2)}[who.number]


def test_recall_is_measured_against_each_baseline_both_ways() -> None:
    rulings = report_of(second_update(), captions_differ).measures
    counted = [
        (
            (one.kind.value, one.depth, one.baseline),
            (one.count, one.right, one.right_before, one.gained, one.lost),
        )
        for one in rulings
        if (one.name, one.asked) == ("shapes", "own")
    ]
    # five images each of 2, 1 and 3 captions; what is wrong has rank 3 from images, 7 from captions
    assert counted == [
        (("image_to_text", 1, "parent"), (15, 10, 5, 5, 0)),
        (("image_to_text", 1, "root"), (15, 10, 10, 5, 5)),
        (("image_to_text", 5, "parent"), (15, 15, 15, 0, 0)),
        (("image_to_text", 5, "root"), (15, 15, 15, 0, 0)),
        *(
            step
            for depth in (1, 5)
            for step in (
                (("text_to_image", depth, "parent"), (30, 25, 15, 10, 0)),
                (("text_to_image", depth, "root"), (30, 25, 15, 15, 5)),
            )
        ),
    ]


@pytest.mark.parametrize(("alpha", "z"), [(0.005, 2.6520698079022), (0.1, 1.4050715603096)])
def test_captions_of_an_image_count_for_less_than_one_each_by_the_policys_level(
    alpha: float, z: float
) -> None:
    report = report_of(second_update(policy=policy(alpha=alpha)), captions_differ)
    measures = report.measures
    found = next(one for one in measures if one.kind is MeasureKind.TEXT_TO_IMAGE)
    assert (found.images, found.count) == (15, 30)
    # 10 of 30 captions were gained, all of images that have two: on average a third of a caption
    between = 5 * ((2 - 2 / 3) ** 2 + (0 - 1 / 3) ** 2 + (0 - 3 / 3) ** 2)
    independent = 10 - 30 / 9
    worst = 5 * (2**2 + 1**2 + 3**2) / 30
    expected = (between + z**2 * worst) / (independent + z**2)
    assert found.design_effect == pytest.approx(expected)


# ---- Scores of a line of versions ----------------------------------------------------------


def test_scores_of_candidate_parent_and_root() -> None:
    report = report_of(second_update(), forgets_cats)
    candidate, parent, root = report.scores
    assert (candidate.ut_micro, candidate.ut_macro) == (1.0, 1.0)
    assert (parent.ut_micro, root.ut_micro) == (0.5, 0.0)
    # emoji has 10 each of cat, dog, Bag and sun; only the candidate forgot the cats
    assert (candidate.zero_shot, parent.zero_shot, root.zero_shot) == (0.75, 1.0, 1.0)
    assert candidate.average == 0.875
    assert report.transfer.forward == 0.0


def test_backward_transfer_sees_what_was_lost_since_learned() -> None:
    def forgets_bags(who: Version, question: EvalQuery, index: int) -> bool:
        bag = isinstance(question, ClassQuery) and question.entries[index].class_name == "bag"
        return learned(who, question, index) and not (who is SECOND and bag)

    transfer = report_of(second_update(), forgets_bags).transfer
    assert transfer.backward == pytest.approx(-0.5)
    assert transfer.backward_reference == pytest.approx(-0.25)
    assert transfer.forgetting == pytest.approx(0.5)


def test_new_competitors_are_not_called_forgetting() -> None:
    def confused_in_union(who: Version, question: EvalQuery, index: int) -> bool:
        union = isinstance(question, ClassQuery) and len(question.classes) == 4
        old = question.entries[index].texts[0] in {"bag", "shirt"}
        return learned(who, question, index) and not (who is SECOND and union and old)

    report = report_of(second_update(), confused_in_union)
    assert report.transfer.backward == 0.0
    holdout = [r for r in report.lists if r.kind is MeasureKind.HOLDOUT]
    assert [(r.role, r.own, r.union) for r in holdout] == [
        ("candidate", 1.0, 0.0),
        ("parent", 1.0, 1.0),
        ("root", 0.0, 0.0),
    ]


def test_image_that_was_taught_by_two_classes_counts_once_and_as_lost_if_it_is_by_one() -> None:
    """A contributor could else upload what was held out earlier by another class, and hide it."""
    again = HeldOutUpdate(version=SECOND, holdout=entries("first", [("boot",), ("coat",)] * 10))
    plan = third_update(earlier=[EARLIER[0], again])

    def forgot_the_first(who: Version, question: EvalQuery, index: int) -> bool:
        bags = isinstance(question, ClassQuery) and question.entries[0].class_name == "bag"
        return learned(who, question, index) and not (who.number == 4 and bags)

    report = report_of(plan, forgot_the_first)
    for baseline in ("parent", "settled version"):
        own = (m for m in report.measures if m.asked is ClassList.OWN)
        both = [m for m in own if m.baseline == baseline]
        (together,) = (m for m in both if m.kind is MeasureKind.HOLDOUTS)
        assert (together.images, together.count, together.lost) == (20, 20, 20)
        (first,) = (m for m in both if m.kind is MeasureKind.HOLDOUT)
        assert first.lost == 20
