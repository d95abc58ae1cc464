"""A version's answers to a query, image by image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.evaluation.queries import (
    NO_MEANINGS,
    ClassQuery,
    EvalQuery,
    RetrievalQuery,
    meaning_of,
    searches,
)
from core.gate.kinds import MeasureKind
from core.rejection.rules import Calibration
from core.values import Json


@dataclass(frozen=True, kw_only=True)
class ClassAnswers:
    """The class predicted for each image, as an index into the query's classes.

    If scores are NaN, there is no best class and the index is one past the last. `probabilities` of
    the predicted classes are for readers: nothing is judged by them. `views` holds the classes
    predicted for each view of the images, those of the first view first.
    """

    predicted: tuple[int, ...]
    probabilities: tuple[float, ...] | None = field(default=None, compare=False)
    views: tuple[tuple[int, ...], ...] = field(default=(), compare=False)

    def hits(
        self, query: ClassQuery, meanings: Mapping[str, str] = NO_MEANINGS
    ) -> tuple[bool, ...]:
        """Return, image by image, whether the answer is right.

        Names that differ only in case are one class, so either is right. So is a name with
        the same meaning: `meanings` has one name for all of those, by each in lower case.
        """
        [hits] = _hits([self.predicted], query, meanings)
        return hits

    def view_hits(
        self, query: ClassQuery, meanings: Mapping[str, str] = NO_MEANINGS
    ) -> tuple[int, ...] | None:
        """Return, image by image, how many answers to views of it are right.

        None if the query asks for no views, or some of these were not answered.
        """
        if not query.views or len(self.views) < query.views:
            return None
        hits = _hits(self.views[: query.views], query, meanings)
        return tuple(map(sum, zip(*hits, strict=True)))


def _hits(
    answers: Iterable[tuple[int, ...]], query: ClassQuery, meanings: Mapping[str, str]
) -> Iterator[tuple[bool, ...]]:
    names: list[str | None] = [meaning_of(name, meanings) for name in query.classes]
    names.append(None)  # no class was best
    truths = [meaning_of(truth, meanings) for truth in query.truths]
    for predicted in answers:
        yield tuple(names[one] == truth for one, truth in zip(predicted, truths, strict=True))


@dataclass(frozen=True, kw_only=True)
class RetrievalAnswers:
    """Ranks from 0: how many others scored higher (ties: the lower index goes first).

    `image_ranks[i]`: the best rank of a text of image i, in all captions.
    `caption_ranks[j]`: the best rank of an image with the text of caption j, in all images.
    If scores are NaN, there is no rank and it is one past the last.
    """

    image_ranks: tuple[int, ...]
    caption_ranks: tuple[int, ...]


def ranks_of(
    part: RetrievalQuery, whole: RetrievalQuery, answers: RetrievalAnswers
) -> RetrievalAnswers:
    """Return the ranks of the searches of one query among the images and captions of another.

    `answers` are to `whole`, which has all images of `part` with their captions.
    """
    images = {entry.pixels: place for place, entry in enumerate(whole.entries)}
    found = searches(whole, MeasureKind.TEXT_TO_IMAGE)
    captions = {(whole.entries[place].pixels, text): n for n, (place, text) in enumerate(found)}
    return RetrievalAnswers(
        image_ranks=tuple(answers.image_ranks[images[entry.pixels]] for entry in part.entries),
        caption_ranks=tuple(
            answers.caption_ranks[captions[entry.pixels, text]]
            for entry in part.entries
            for text in entry.texts
        ),
    )


Answers = ClassAnswers | RetrievalAnswers | Calibration


def are_finite(answers: Answers, query: EvalQuery) -> bool:
    """Return whether every image has a class, or every image and caption has a rank."""
    if isinstance(answers, Calibration):
        return True
    if isinstance(answers, RetrievalAnswers):
        images, captions = len(answers.image_ranks), len(answers.caption_ranks)
        return max(answers.image_ranks) < captions and max(answers.caption_ranks) < images
    classes = query.classes if isinstance(query, ClassQuery) else ()
    return max(answers.predicted) < len(classes)


def answers_to_json(answers: Answers) -> dict[str, Any]:
    """Return answers as plain JSON, for storage; without what is stored apart."""
    if isinstance(answers, Calibration):
        return answers.to_json()
    if isinstance(answers, ClassAnswers):
        return {"predicted": list(answers.predicted)}
    return {name: list(value) for name, value in vars(answers).items()}


def views_to_json(views: Iterable[Sequence[int]]) -> dict[str, Any]:
    """Return answers to views as plain JSON, for storage."""
    return {"views": [list(view) for view in views]}


def answers_from_json(value: Json) -> Answers:
    """Return the answers that `answers_to_json` wrote."""
    if "sources" in value:
        return Calibration.from_json(value)
    fields: dict[str, tuple[int, ...]] = {name: tuple(numbers) for name, numbers in value.items()}
    if "predicted" in fields:
        return ClassAnswers(predicted=fields["predicted"])
    return RetrievalAnswers(**fields)
