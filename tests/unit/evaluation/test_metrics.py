"""Scores on hand-worked matrices, chosen so that formulas of one name differ."""

import pytest

from benchmarks.study import matrix_scores
from core.evaluation import results as metrics

# Three tasks; task 1 is forgotten half-way and comes back, task 0 falls for good.
MATRIX = [
    [0.8, 0.4, 0.2],
    [0.6, 0.9, 0.5],
    [0.5, 0.95, 0.7],
]

UNTOUCHED = [0.3, 0.3, 0.1]


def test_backward_transfer_is_the_mean_change_since_learned() -> None:
    # ((0.5 - 0.8) + (0.95 - 0.9)) / 2
    assert metrics.backward_transfer(MATRIX) == pytest.approx(-0.125)


def test_reference_backward_transfer_averages_a_zero_in() -> None:
    assert metrics.backward_transfer_reference(MATRIX) == pytest.approx(-0.25 / 3)


def test_forgetting_can_be_negative_and_mammoths_cannot() -> None:
    # task 0: 0.8 - 0.5; task 1: best before the last row 0.9, so 0.9 - 0.95
    assert metrics.forgetting(MATRIX) == pytest.approx((0.3 - 0.05) / 2)
    # with the last row among the best, task 1 has forgotten 0
    assert matrix_scores.forgetting_over_all_rows(MATRIX) == pytest.approx(0.3 / 2)


def test_forgetting_ignores_what_a_task_scored_before_it_was_learned() -> None:
    lucky_start = [[0.8, 0.99], [0.6, 0.7]]
    assert metrics.forgetting(lucky_start) == pytest.approx(0.2)
    peak_before = [[0.8, 0.99, 0.0], [0.6, 0.7, 0.0], [0.6, 0.7, 0.5]]
    assert metrics.forgetting(peak_before) == pytest.approx(0.1)
    assert matrix_scores.forgetting_over_all_rows(peak_before) == pytest.approx((0.2 + 0.29) / 2)


def test_mammoths_forgetting_fills_missing_cells_with_zero() -> None:
    ragged = [[0.8], [0.6, 0.7], [0.5, 0.6, 0.9]]
    assert matrix_scores.forgetting_over_all_rows(ragged) == pytest.approx((0.3 + 0.1) / 2)
    assert metrics.forgetting(ragged) == pytest.approx((0.3 + 0.1) / 2)


def test_transfer_depends_on_what_is_averaged_first() -> None:
    # columns: task 1: 0.4; task 2: (0.2 + 0.5) / 2
    assert matrix_scores.transfer_by_columns(MATRIX) == pytest.approx((0.4 + 0.35) / 2)
    # rows: after update 0: (0.4 + 0.2) / 2; after update 1: 0.5
    assert matrix_scores.transfer_by_rows(MATRIX) == pytest.approx((0.3 + 0.5) / 2)


def test_average_last_and_learned() -> None:
    assert matrix_scores.average(MATRIX) == pytest.approx(5.55 / 9)
    assert matrix_scores.last_accuracy(MATRIX) == pytest.approx(2.15 / 3)
    assert matrix_scores.learned_accuracy(MATRIX) == pytest.approx(0.8)


def test_forward_transfer_compares_with_the_untouched_model() -> None:
    # (0.4 - 0.3 + 0.5 - 0.1) / 2
    assert metrics.forward_transfer(MATRIX, UNTOUCHED) == pytest.approx(0.25)


def test_micro_weighs_images_and_macro_weighs_classes() -> None:
    counts = [(90, 100), (1, 10), (0, 0)]
    assert metrics.micro_accuracy(counts) == pytest.approx(91 / 110)
    assert metrics.macro_accuracy(counts) == pytest.approx(0.5)


def test_average_accuracy_is_the_mean_of_both() -> None:
    assert metrics.average_accuracy(0.7, 0.3) == pytest.approx(0.5)


def test_recall_counts_ranks_from_zero() -> None:
    ranks = [0, 1, 4, 5, 9, 10]
    assert metrics.recall_at(ranks, 1) == pytest.approx(1 / 6)
    assert metrics.recalls(ranks) == pytest.approx({1: 1 / 6, 5: 3 / 6, 10: 5 / 6})
