"""Continual-learning scores on plain lists.

`matrix[t][i]` is the accuracy on task i after update t, both counted from 0. The scores that
look back need only i <= t, so rows may be ragged; those that look ahead need full rows.
Where the literature uses one name for several formulas, each has a name of its own here.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

Matrix = Sequence[Sequence[float]]


def micro_accuracy(counts: Iterable[tuple[int, int]]) -> float:
    """Right answers over all answers, from (right, asked) per class."""
    right, asked = map(sum, zip(*counts, strict=True))
    return right / asked


def macro_accuracy(counts: Iterable[tuple[int, int]]) -> float:
    """The mean of the classes' accuracies, each class counting once; empty ones are skipped."""
    return fmean(right / asked for right, asked in counts if asked)


def average_accuracy(target: float, zero_shot: float) -> float:
    """A-Acc: the mean of UT-Acc and ZS-Acc."""
    return (target + zero_shot) / 2


def backward_transfer(matrix: Matrix) -> float:
    """The mean change of the earlier tasks since each was learned (the standard form)."""
    *_, last = matrix
    earlier = len(matrix) - 1
    return fmean(last[i] - matrix[i][i] for i in range(earlier))


def backward_transfer_reference(matrix: Matrix) -> float:
    """The same sum divided by all tasks, the newest counting as zero (released VR-LwF code)."""
    return backward_transfer(matrix) * (len(matrix) - 1) / len(matrix)


def forgetting(matrix: Matrix) -> float:
    """The mean fall of earlier tasks from their best before the last update (Chaudhry et al.)."""
    *before, last = matrix
    return fmean(max(row[i] for row in before[i:]) - last[i] for i in range(len(before)))


def forgetting_over_all_rows(matrix: Matrix) -> float:
    """mammoth's form: the best over all rows, the last included, missing cells being 0."""
    *_, last = matrix
    return fmean(
        max(row[i] if i < len(row) else 0.0 for row in matrix) - last[i]
        for i in range(len(matrix) - 1)
    )


def transfer_by_columns(matrix: Matrix) -> float:
    """Accuracy on tasks not yet learned: mean per task, then over tasks (ZSCL)."""
    return fmean(fmean(matrix[t][i] for t in range(i)) for i in range(1, len(matrix)))


def transfer_by_rows(matrix: Matrix) -> float:
    """Accuracy on tasks not yet learned: mean per update, then over updates (mammoth)."""
    return fmean(fmean(row[t + 1 :]) for t, row in enumerate(matrix[:-1]))


def average(matrix: Matrix) -> float:
    """The mean of all cells, learned or not."""
    return fmean(cell for row in matrix for cell in row)


def last_accuracy(matrix: Matrix) -> float:
    """The mean of the last row."""
    return fmean(matrix[-1])


def learned_accuracy(matrix: Matrix) -> float:
    """The mean of the diagonal: how well each task was learned."""
    return fmean(row[t] for t, row in enumerate(matrix))


def forward_transfer(matrix: Matrix, untouched: Sequence[float]) -> float:
    """What earlier updates did for a task before it was learned, against the untouched model."""
    return fmean(matrix[i - 1][i] - untouched[i] for i in range(1, len(matrix)))


def recall_at(ranks: Sequence[int], depth: int) -> float:
    """The share of queries whose match ranks among the first `depth` (ranks count from 0)."""
    return sum(rank < depth for rank in ranks) / len(ranks)


def recalls(ranks: Sequence[int]) -> Mapping[int, float]:
    """R@1, R@5 and R@10."""
    return {depth: recall_at(ranks, depth) for depth in (1, 5, 10)}
