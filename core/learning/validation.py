"""How good a student is by the validation parts of an update."""

from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

from core.clip.decoded import DecodedImages
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
        """The answers of a model to questions about images that may be decoded already."""


def score(
    model: ClipModel,
    selection: Selection,
    ask: AnswerQueries,
    monitor: Monitor,
    decoded: DecodedImages,
) -> tuple[float, float]:
    """Accuracy on the new classes, and the mean over the kept suites.

    `decoded` has the images as the model sees them when it is asked; it serves a whole sweep.
    A zero-shot suite counts with its top-1 accuracy, a captioned one with the mean R@1 of both
    directions.
    """
    questions: tuple[EvalQuery, ...] = (selection.new, *selection.kept)
    answers = ask(model, questions, monitor, decoded=decoded)
    new, *kept = [
        _share(question, given) for question, given in zip(questions, answers, strict=True)
    ]
    return new, fmean(kept) if kept else 0.0


def _share(question: EvalQuery, answers: Answers) -> float:
    match question, answers:
        case ClassQuery(), ClassAnswers():
            return fmean(answers.hits(question))
        case _, RetrievalAnswers(image_ranks=images, caption_ranks=captions):
            return fmean((recall_at(images, 1), recall_at(captions, 1)))
        case _:
            raise TypeError("answers of another kind than the question")
