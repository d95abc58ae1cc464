"""Scores of an accuracy matrix that studies report beside those of the service's report."""

from statistics import fmean

from core.evaluation.results import Matrix


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
