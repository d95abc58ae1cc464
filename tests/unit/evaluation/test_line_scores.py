"""Scores of a line of versions: its matrix, retention and transfer."""

import pytest

from core.evaluation.plan import HeldOutUpdate
from core.evaluation.queries import ClassQuery, EvalQuery
from core.gate.measures import MeasureKind
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    FIRST,
    SECOND,
    entries,
    forgets_cats,
    learned,
    report_of,
    second_update,
    taught,
)


def test_scores_of_candidate_parent_and_root() -> None:
    report = report_of(second_update(), forgets_cats)
    candidate, parent, root = report.scores
    assert (candidate.ut_micro, candidate.ut_macro) == (1.0, 1.0)
    assert (parent.ut_micro, root.ut_micro) == (0.5, 0.0)
    # emoji has 10 each of cat, dog, Bag and sun; only the candidate forgot the cats
    assert (candidate.zero_shot, parent.zero_shot, root.zero_shot) == (0.75, 1.0, 1.0)
    assert candidate.average == 0.875


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


def three_updates() -> list[HeldOutUpdate]:
    third = taught(SECOND, 4, ("hat",))
    return [
        HeldOutUpdate(version=FIRST, holdout=entries("first", [("bag",), ("shirt",)] * 10)),
        HeldOutUpdate(version=SECOND, holdout=entries("second", [("boot",), ("coat",)] * 10)),
        HeldOutUpdate(version=third, holdout=entries("third", [("hat",)] * 10)),
    ]


def test_older_rows_of_the_matrix_come_from_the_parents_report() -> None:
    updates = three_updates()
    plan = second_update(candidate=updates[2], parent=SECOND, earlier=updates[:2])
    previous = report_of(second_update(), learned)
    with_report = {row.version: row.macro for row in report_of(plan, learned, previous).matrix}
    assert with_report == {
        1: (0.0, 0.0, 0.0),
        2: (1.0, 0.0, None),
        3: (1.0, 1.0, 0.0),
        4: (1.0, 1.0, 1.0),
    }
    without = report_of(plan, learned)
    assert {row.version: row.macro for row in without.matrix}[2] == (1.0, None, None)
    assert without.transfer.forward is None
    assert without.transfer.backward == 0.0
    assert without.transfer.forgetting == 0.0


def test_image_in_two_holdouts_counts_once_among_them_as_what_it_was_last_taught_to_be() -> None:
    updates = three_updates()
    again = entries("first", [("boot",), ("coat",)] * 10)
    updates[1] = HeldOutUpdate(version=SECOND, holdout=again)
    plan = second_update(candidate=updates[2], parent=SECOND, earlier=updates[:2])

    def forgot_the_first(who: Version, question: EvalQuery, index: int) -> bool:
        bags = isinstance(question, ClassQuery) and question.entries[0].class_name == "bag"
        return learned(who, question, index) and not (who.number == 4 and bags)

    report = report_of(plan, forgot_the_first)
    (together,) = [r for r in report.measures if r.kind is MeasureKind.HOLDOUTS]
    assert (together.images, together.count, together.lost) == (20, 20, 0)
    (first, _) = [r for r in report.measures if r.kind is MeasureKind.HOLDOUT]
    assert first.lost == 20
