"""What a version is asked, and what it answered, image by image."""

from dataclasses import dataclass
from functools import cached_property

from core.domain.dataset import ManifestEntry
from core.domain.prompt import PromptTemplate
from core.domain.values import Digest, Json, canonical_json, sha256


@dataclass(frozen=True, kw_only=True)
class ClassQuestion:
    """Which of `classes` is each image? Every entry's class is among them, whatever its case."""

    entries: tuple[ManifestEntry, ...]
    classes: tuple[str, ...]
    prompt: PromptTemplate

    @cached_property
    def digest(self) -> Digest:
        """Names the question: the same images in the same order, classes and prompt."""
        pixels = [[entry.pixels, entry.class_name] for entry in self.entries]
        return sha256(canonical_json(["class", pixels, list(self.classes), self.prompt.text]))


@dataclass(frozen=True, kw_only=True)
class RetrievalQuestion:
    """Which caption belongs to each image, and which image to each caption?

    The gallery is all entries; their captions stand in entry order, each entry's in its own.
    """

    entries: tuple[ManifestEntry, ...]

    @cached_property
    def digest(self) -> Digest:
        """Names the question: the same images with the same captions in the same order."""
        rows = [[entry.pixels, list(entry.texts)] for entry in self.entries]
        return sha256(canonical_json(["retrieval", rows]))


Question = ClassQuestion | RetrievalQuestion


@dataclass(frozen=True, kw_only=True)
class ClassAnswers:
    """The class each image was given, as an index into the question's classes.

    Where scores are no numbers (NaN) there is no best class: the index is one past the last.
    """

    predicted: tuple[int, ...]

    def hits(self, question: ClassQuestion) -> tuple[bool, ...]:
        """Image by image, whether the answer was right.

        Names that differ in case alone have one prompt between them, so either is right.
        """
        names: list[str | None] = [name.lower() for name in question.classes]
        names.append(None)  # no class was best
        return tuple(
            names[given] == entry.class_name.lower()
            for given, entry in zip(self.predicted, question.entries, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class RetrievalAnswers:
    """Ranks from 0: how many others scored higher (ties: the lower index goes first).

    `image_ranks[i]`: the best rank among image i's own captions, in all captions.
    `caption_ranks[j]`: the rank of caption j's image, in all images.
    Where scores are no numbers (NaN) there is no rank: it is one past the last.
    """

    image_ranks: tuple[int, ...]
    caption_ranks: tuple[int, ...]


Answers = ClassAnswers | RetrievalAnswers


def are_finite(answers: Answers, question: Question) -> bool:
    """Whether every image was given a class, or every image and caption has a rank."""
    if isinstance(answers, RetrievalAnswers):
        images, captions = len(answers.image_ranks), len(answers.caption_ranks)
        return max(answers.image_ranks) < captions and max(answers.caption_ranks) < images
    classes = question.classes if isinstance(question, ClassQuestion) else ()
    return max(answers.predicted) < len(classes)


def answers_to_json(answers: Answers) -> dict[str, list[int]]:
    """Answers as plain JSON, for the store."""
    return {name: list(value) for name, value in vars(answers).items()}


def answers_from_json(value: Json) -> Answers:
    """The answers that `answers_to_json` wrote."""
    fields: dict[str, tuple[int, ...]] = {name: tuple(numbers) for name, numbers in value.items()}
    return ClassAnswers(**fields) if "predicted" in fields else RetrievalAnswers(**fields)
