"""Queries to a version and its answers, image by image."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from core.domain.datasets.manifest import ManifestEntry
from core.domain.recipes.prompt import PromptTemplate
from core.domain.rejection.calibration import Calibration
from core.domain.rejection.query import CalibrationQuery
from core.domain.values import Digest, Json, canonical_json, sha256


@dataclass(frozen=True, kw_only=True)
class ClassQuery:
    """A query for the class of each image; every entry's class is in `classes`, in any case."""

    entries: tuple[ManifestEntry, ...]
    classes: tuple[str, ...]
    prompt: PromptTemplate

    @cached_property
    def digest(self) -> Digest:
        """Identifies the query by images in order, classes and prompt."""
        pixels = [[entry.pixels, entry.class_name] for entry in self.entries]
        return sha256(canonical_json(["class", pixels, list(self.classes), self.prompt.text]))

    @cached_property
    def truths(self) -> tuple[str, ...]:
        """The class of each image in lower case: names that differ only in case are one class."""
        return tuple(entry.class_name.lower() for entry in self.entries)


@dataclass(frozen=True, kw_only=True)
class RetrievalQuery:
    """A query for the captions of each image and the image of each caption.

    The gallery is all entries. Captions are in the order of the entries, then of their texts.
    """

    entries: tuple[ManifestEntry, ...]

    @cached_property
    def digest(self) -> Digest:
        """Identifies the query by images and captions in order."""
        rows = [[entry.pixels, list(entry.texts)] for entry in self.entries]
        return sha256(canonical_json(["retrieval", rows]))


def probabilities_of(query: Digest) -> Digest:
    """Return what the probabilities of a query's answers are stored under.

    They are stored apart because the previous release reads answers and knows no probabilities.
    """
    return sha256(f"probabilities {query}".encode())


EvalQuery = ClassQuery | RetrievalQuery | CalibrationQuery


@dataclass(frozen=True, kw_only=True)
class ClassAnswers:
    """The class predicted for each image, as an index into the query's classes.

    If scores are NaN, there is no best class and the index is one past the last. `probabilities` of
    the predicted classes are for readers: nothing is judged by them, and older answers lack them.
    """

    predicted: tuple[int, ...]
    probabilities: tuple[float, ...] | None = field(default=None, compare=False)

    def hits(self, query: ClassQuery) -> tuple[bool, ...]:
        """Return, image by image, whether the answer is right.

        Names that differ only in case have the same prompt, so either is right.
        """
        names: list[str | None] = [name.lower() for name in query.classes]
        names.append(None)  # no class was best
        rows = zip(self.predicted, query.truths, strict=True)
        return tuple(names[predicted] == truth for predicted, truth in rows)


@dataclass(frozen=True, kw_only=True)
class RetrievalAnswers:
    """Ranks from 0: how many others scored higher (ties: the lower index goes first).

    `image_ranks[i]`: the best rank among image i's own captions, in all captions.
    `caption_ranks[j]`: the rank of caption j's image, in all images.
    If scores are NaN, there is no rank and it is one past the last.
    """

    image_ranks: tuple[int, ...]
    caption_ranks: tuple[int, ...]


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
    """Return answers as plain JSON, for storage; without probabilities, which are stored apart."""
    if isinstance(answers, Calibration):
        return answers.to_json()
    if isinstance(answers, ClassAnswers):
        return {"predicted": list(answers.predicted)}
    return {name: list(value) for name, value in vars(answers).items()}


def answers_from_json(value: Json) -> Answers:
    """Return the answers that `answers_to_json` wrote."""
    if "sources" in value:
        return Calibration.from_json(value)
    fields: dict[str, tuple[int, ...]] = {name: tuple(numbers) for name, numbers in value.items()}
    return ClassAnswers(**fields) if "predicted" in fields else RetrievalAnswers(**fields)
