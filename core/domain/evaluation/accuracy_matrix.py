"""The accuracy matrix over the updates of a line, and what it says about transfer.

A task is an update's holdout. Each cell is a version's accuracy over the class list known
when the task was learned, so that all cells of a column answer the same question.
"""

from collections.abc import Sequence
from statistics import fmean

from core.domain.evaluation import metrics
from core.domain.evaluation.report import MatrixRow, Report, Task, Transfer
from core.domain.evaluation.results import EvaluationResults

Cell = tuple[float, float]  # micro, macro
Cells = dict[tuple[int, int], Cell]  # (version, task's version)


def tasks(sheet: EvaluationResults) -> tuple[Task, ...]:
    """The columns: the updates of the lineage that have a test image, oldest first."""
    return tuple(
        Task(
            version=holdout.learner.number,
            classes=holdout.learner.update_classes,
            images=len(holdout.exam.own.entries),
        )
        for holdout in sheet.plan.holdouts
    )


def accuracy_matrix(sheet: EvaluationResults, previous: Report | None) -> tuple[MatrixRow, ...]:
    """The root's row, then one row for each update of the lineage.

    Candidate, parent, root and the diagonal come from this examination's answers, the other
    cells from the parent's report; what neither knows is None.
    """
    exam = sheet.plan
    cells = _known(previous)
    for holdout in exam.holdouts:
        for version in (exam.root, exam.parent, holdout.learner, exam.candidate):
            counts = sheet.counts(version, holdout.exam.own)
            cell = (metrics.micro_accuracy(counts), metrics.macro_accuracy(counts))
            cells[version.number, holdout.learner.number] = cell
    columns = [holdout.learner.number for holdout in exam.holdouts]
    rows = sorted({exam.root.number, exam.parent.number, exam.candidate.number, *columns})
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


def transfer(sheet: EvaluationResults, matrix: Sequence[MatrixRow]) -> Transfer:
    """The transfer scores of the macro accuracies that the matrix allows."""
    columns = [holdout.learner.number for holdout in sheet.plan.holdouts]
    rows = {row.version: row.macro for row in matrix}
    square = [rows[version] for version in columns]
    if not columns or columns[-1] != sheet.plan.candidate.number:
        return Transfer()
    learned = fmean(_required(row[t]) for t, row in enumerate(square))
    if len(columns) == 1:
        return Transfer(learned=learned)
    count = len(columns)
    # The two backward transfers read the diagonal and the last row only, and these are known.
    seen = [[cell or 0.0 for cell in row] for row in square]
    triangle = [square[t][i] for t in range(count) for i in range(t + 1)]
    ahead = [square[i - 1][i] for i in range(1, count)]
    untouched = rows[sheet.plan.root.number]
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
        raise ValueError("a cell that this examination answers is missing")
    return cell
