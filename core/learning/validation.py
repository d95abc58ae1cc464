"""The student's accuracy on the validation parts of an update."""

from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

from core.clip.decoded_images import DecodedImages
from core.clip.model import ClipModel
from core.domain.evaluation.metrics import recall_at
from core.domain.evaluation.query import (
    Answers,
    ClassAnswers,
    ClassQuery,
    EvalQuery,
    RetrievalAnswers,
)
from core.ports import Monitor, Selection


class AnswerQueries(Protocol):
    def __call__(
        self,
        model: ClipModel,
        questions: Sequence[EvalQuery],
        monitor: Monitor,
        *,
        decoded: DecodedImages,
    ) -> Sequence[Answers]:
        """Return a model's answers to queries; `decoded` holds images decoded already."""


def score(
    model: ClipModel,
    selection: Selection,
    ask: AnswerQueries,
    monitor: Monitor,
    decoded: DecodedImages,
) -> tuple[float, float]:
    """Return the accuracy on the new classes and the mean accuracy on the suites, 0 without any.

    A zero-shot suite counts with its top-1 accuracy, a captioned one with the mean R@1 of both
    directions. `decoded` caches preprocessed images over several calls.
    """
    queries: tuple[EvalQuery, ...] = (selection.new, *selection.kept)
    answers = ask(model, queries, monitor, decoded=decoded)
    new, *kept = [_accuracy(query, given) for query, given in zip(queries, answers, strict=True)]
    return new, fmean(kept) if kept else 0.0


def _accuracy(query: EvalQuery, answers: Answers) -> float:
    match query, answers:
        case ClassQuery(), ClassAnswers():
            return fmean(answers.hits(query))
        case _, RetrievalAnswers(image_ranks=images, caption_ranks=captions):
            return fmean((recall_at(images, 1), recall_at(captions, 1)))
        case _:
            raise TypeError("the answers do not match the kind of the query")
