"""Continual-learning scores on plain lists.

`matrix[t][i]` is the accuracy on task i after update t, both counted from 0. The scores that
look back need only i <= t, so rows may be ragged; those that look ahead need full rows.
Where the literature uses one name for several formulas, each has its own name here.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

Matrix = Sequence[Sequence[float]]


def micro_accuracy(counts: Iterable[tuple[int, int]]) -> float:
    """Return right answers over all answers, from (right, asked) per class."""
    right, asked = map(sum, zip(*counts, strict=True))
    return right / asked


def macro_accuracy(counts: Iterable[tuple[int, int]]) -> float:
    """Return the mean accuracy of the classes, from (right, asked) per class; skip empty ones."""
    return fmean(right / asked for right, asked in counts if asked)


def average_accuracy(target: float, zero_shot: float) -> float:
    """Return A-Acc, the mean of UT-Acc and ZS-Acc."""
    return (target + zero_shot) / 2


def backward_transfer(matrix: Matrix) -> float:
    """Return the mean change of earlier tasks since each was learned (the standard form)."""
    *_, last = matrix
    earlier = len(matrix) - 1
    return fmean(last[i] - matrix[i][i] for i in range(earlier))


def backward_transfer_reference(matrix: Matrix) -> float:
    """Return `backward_transfer` as in the released VR-LwF code.

    Its sum is divided by the number of all tasks, the newest one counting as zero.
    """
    return backward_transfer(matrix) * (len(matrix) - 1) / len(matrix)


def forgetting(matrix: Matrix) -> float:
    """Return the mean drop of earlier tasks from their best before the last update.

    Source: Chaudhry et al.
    """
    *before, last = matrix
    return fmean(max(row[i] for row in before[i:]) - last[i] for i in range(len(before)))


def forgetting_over_all_rows(matrix: Matrix) -> float:
    """Return `forgetting` as mammoth defines it.

    The best is taken over all rows, the last included; missing cells are 0.
    """
    *_, last = matrix
    return fmean(
        max(row[i] if i < len(row) else 0.0 for row in matrix) - last[i]
        for i in range(len(matrix) - 1)
    )


def transfer_by_columns(matrix: Matrix) -> float:
    """Return the accuracy on tasks not yet learned, as ZSCL: mean per task, then of these."""
    return fmean(fmean(matrix[t][i] for t in range(i)) for i in range(1, len(matrix)))


def transfer_by_rows(matrix: Matrix) -> float:
    """Return the accuracy on tasks not yet learned, as mammoth: mean per update, then of these."""
    return fmean(fmean(row[t + 1 :]) for t, row in enumerate(matrix[:-1]))


def average(matrix: Matrix) -> float:
    """Return the mean of all cells, learned or not."""
    return fmean(cell for row in matrix for cell in row)


def last_accuracy(matrix: Matrix) -> float:
    """Return the mean of the last row."""
    return fmean(matrix[-1])


def learned_accuracy(matrix: Matrix) -> float:
    """Return the mean of the diagonal: how well each task was learned."""
    return fmean(row[t] for t, row in enumerate(matrix))


def forward_transfer(matrix: Matrix, untouched: Sequence[float]) -> float:
    """Return the mean gain of tasks just before they are learned, over the untouched model."""
    return fmean(matrix[i - 1][i] - untouched[i] for i in range(1, len(matrix)))


def recall_at(ranks: Sequence[int], depth: int) -> float:
    """Return the share of queries whose match is among the first `depth`; ranks count from 0."""
    return sum(rank < depth for rank in ranks) / len(ranks)


def recalls(ranks: Sequence[int]) -> Mapping[int, float]:
    """Return R@1, R@5 and R@10 by depth."""
    return {depth: recall_at(ranks, depth) for depth in (1, 5, 10)}
