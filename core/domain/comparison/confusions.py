"""Confusions between classes that two versions make differently often."""

from collections import Counter
from dataclasses import dataclass

from core.domain.comparison.answered_query import AnsweredQuery
from core.domain.comparison.flips import predictions
from core.domain.evaluation.query import ClassAnswers, ClassQuery


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """A cell of the confusion matrix off its diagonal: images of a class taken for another."""

    class_name: str
    predicted: str | None  # None: the features were not finite
    before: int
    now: int
    change: int


@dataclass(frozen=True, kw_only=True)
class ConfusionTable:
    """The cells of a suite or holdout that changed, largest change first."""

    name: str  # the suite, or "version 2": the holdout of its update
    cells: tuple[Confusion, ...]


def confusion_table(one: AnsweredQuery) -> ConfusionTable | None:
    """Return the signed confusion matrix without its zeros; None if no classes were asked."""
    if one.classes is None:
        return None
    query, before, now = one.classes
    old, new = _confusions(query, before), _confusions(query, now)
    cells = [
        Confusion(
            class_name=cell[0],
            predicted=cell[1],
            before=old[cell],
            now=new[cell],
            change=new[cell] - old[cell],
        )
        for cell in {**old, **new}
        if new[cell] != old[cell]
    ]
    cells.sort(key=lambda cell: (-abs(cell.change), cell.class_name, cell.predicted or ""))
    return ConfusionTable(name=one.asked.name, cells=tuple(cells))


def _confusions(query: ClassQuery, answers: ClassAnswers) -> Counter[tuple[str, str | None]]:
    """Count the wrong answers by class and prediction."""
    rows = zip(query.entries, predictions(query, answers), answers.hits(query), strict=True)
    return Counter((entry.class_name, name) for entry, name, right in rows if not right)
