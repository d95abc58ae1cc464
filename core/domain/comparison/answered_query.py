"""The answers of two versions to the same query."""

from dataclasses import dataclass

from core.domain.evaluation.query import (
    Answers,
    ClassAnswers,
    ClassQuery,
    EvalQuery,
    RetrievalAnswers,
    RetrievalQuery,
)
from core.domain.gate.measure import MeasureKind


@dataclass(frozen=True, kw_only=True)
class NamedQuery:
    """A query on the test images of a suite or of a holdout, with that one's own class list."""

    name: str  # the suite, or "version 2": the holdout of its update
    holdout: bool = False
    query: EvalQuery

    @property
    def kind(self) -> MeasureKind:
        """The kind of measure that counts its right answers; for captions, image to text."""
        if isinstance(self.query, RetrievalQuery):
            return MeasureKind.IMAGE_TO_TEXT
        return MeasureKind.HOLDOUT if self.holdout else MeasureKind.ZERO_SHOT


@dataclass(frozen=True, kw_only=True)
class AnsweredQuery:
    """A query with the answers of two versions."""

    asked: NamedQuery
    before: Answers
    now: Answers

    @property
    def classes(self) -> tuple[ClassQuery, ClassAnswers, ClassAnswers] | None:
        """The query and both answers if it asked for classes."""
        match (self.asked.query, self.before, self.now):
            case (ClassQuery() as query, ClassAnswers() as before, ClassAnswers() as now):
                return query, before, now
        return None

    @property
    def captions(self) -> tuple[RetrievalQuery, RetrievalAnswers, RetrievalAnswers] | None:
        """The query and both answers if it asked for captions."""
        match (self.asked.query, self.before, self.now):
            case (RetrievalQuery() as query, RetrievalAnswers() as old, RetrievalAnswers() as new):
                return query, old, new
        return None
