"""The accuracy matrix over the updates of a lineage, and its transfer scores.

A task is an update's holdout. Each cell is a version's accuracy over the class list known
when the task was learned, so all cells of a column answer the same query.
"""

from collections.abc import Sequence
from statistics import fmean

from core.domain.evaluation import metrics
from core.domain.evaluation.report import Report
from core.domain.evaluation.report_sections import MatrixRow, Task, Transfer
from core.domain.evaluation.results import EvaluationResults

Cell = tuple[float, float]  # micro, macro
Cells = dict[tuple[int, int], Cell]  # (version, task's version)


def tasks(results: EvaluationResults) -> tuple[Task, ...]:
    """Return the columns: the updates of the lineage that have a test image, oldest first."""
    return tuple(
        Task(
            version=holdout.learner.number,
            classes=holdout.learner.update_classes,
            images=len(holdout.exam.own.entries),
        )
        for holdout in results.plan.holdouts
    )


def accuracy_matrix(results: EvaluationResults, previous: Report | None) -> tuple[MatrixRow, ...]:
    """Return the root's row, then one row for each update of the lineage.

    The cells of candidate, parent and root and those of the diagonal come from this evaluation's
    answers, the others from the parent's report; cells known to neither are None.
    """
    plan = results.plan
    cells = _known(previous)
    for holdout in plan.holdouts:
        for version in (plan.root, plan.parent, holdout.learner, plan.candidate):
            counts = results.counts(version, holdout.exam.own)
            cell = (metrics.micro_accuracy(counts), metrics.macro_accuracy(counts))
            cells[version.number, holdout.learner.number] = cell
    columns = [holdout.learner.number for holdout in plan.holdouts]
    rows = sorted({plan.root.number, plan.parent.number, plan.candidate.number, *columns})
    return tuple(
        MatrixRow(
            version=row,
            micro=tuple(_part(cells, row, column, 0) for column in columns),
            macro=tuple(_part(cells, row, column, 1) for column in columns),
        )
        for row in rows
    )


def _known(previous: Report | None) -> Cells:
    if previous is None:
        return {}
    return {
        (row.version, task.version): (micro, macro)
        for row in previous.matrix
        for task, micro, macro in zip(previous.tasks, row.micro, row.macro, strict=True)
        if micro is not None and macro is not None
    }


def _part(cells: Cells, row: int, column: int, index: int) -> float | None:
    cell = cells.get((row, column))
    return None if cell is None else cell[index]


def transfer(results: EvaluationResults, matrix: Sequence[MatrixRow]) -> Transfer:
    """Return the transfer scores of the macro accuracies, as far as the matrix has the cells."""
    columns = [holdout.learner.number for holdout in results.plan.holdouts]
    rows = {row.version: row.macro for row in matrix}
    square = [rows[version] for version in columns]
    if not columns or columns[-1] != results.plan.candidate.number:
        return Transfer()
    learned = fmean(_required(row[t]) for t, row in enumerate(square))
    if len(columns) == 1:
        return Transfer(learned=learned)
    count = len(columns)
    # Both backward transfers read only the diagonal and the last row, which are known.
    seen = [[cell or 0.0 for cell in row] for row in square]
    triangle = [square[t][i] for t in range(count) for i in range(t + 1)]
    ahead = [square[i - 1][i] for i in range(1, count)]
    untouched = rows[results.plan.root.number]
    return Transfer(
        backward=metrics.backward_transfer(seen),
        backward_reference=metrics.backward_transfer_reference(seen),
        forgetting=None if None in triangle else metrics.forgetting(seen),
        forward=None
        if None in ahead
        else metrics.forward_transfer(seen, [_required(cell) for cell in untouched]),
        learned=learned,
    )


def _required(cell: float | None) -> float:
    if cell is None:
        raise ValueError("a cell that this evaluation fills is missing")
    return cell
