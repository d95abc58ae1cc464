"""What a version is asked, and what it answered, image by image."""

from collections.abc import Sequence
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
    """The class each image was given, as an index into the question's classes."""

    predicted: tuple[int, ...]

    def hits(self, question: ClassQuestion) -> tuple[bool, ...]:
        """Image by image, whether the answer was right.

        Names that differ in case alone have one prompt between them, so either is right.
        """
        names = [name.lower() for name in question.classes]
        return tuple(
            names[given] == entry.class_name.lower()
            for given, entry in zip(self.predicted, question.entries, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class RetrievalAnswers:
    """Ranks from 0: how many others scored higher (ties: the lower index goes first).

    `image_ranks[i]`: the best rank among image i's own captions, in all captions.
    `caption_ranks[j]`: the rank of caption j's image, in all images.
    """

    image_ranks: tuple[int, ...]
    caption_ranks: tuple[int, ...]


Answers = ClassAnswers | RetrievalAnswers


def answers_to_json(answers: Answers) -> dict[str, list[int]]:
    """Answers as plain JSON, for the store."""
    return {name: list(value) for name, value in vars(answers).items()}


def answers_from_json(value: Json) -> Answers:
    """The answers that `answers_to_json` wrote."""
    fields: dict[str, Sequence[int]] = {name: tuple(numbers) for name, numbers in value.items()}
    if "predicted" in fields:
        return ClassAnswers(predicted=tuple(fields["predicted"]))
    return RetrievalAnswers(
        image_ranks=tuple(fields["image_ranks"]), caption_ranks=tuple(fields["caption_ranks"])
    )
