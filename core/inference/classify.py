"""Prepare a classification: settle the classes of a resolved version and their prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.errors import EmbeddingSpaceChanged, FieldInvalid
from core.images.inputs import ImageInput
from core.recipes.fields import PromptTemplate
from core.recipes.rules import ClassTexts, class_texts
from core.registry.versions import Model, Version
from core.trials.rules import Tried

MAX_CLASSES = 10_000
MAX_PROMPTS = 10_000  # of all classes together


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The version that a reference has resolved to, the input of its image tower, and a trial."""

    model: Model
    version: Version
    input: ImageInput
    tried: Tried | None = None  # the trial of the alias that the reference names

    def require_digest(self, expected: str | None) -> None:
        """Raise EmbeddingSpaceChanged if the version has another digest than the expected one."""
        if expected is not None and expected.removeprefix("sha256:") != self.version.digest:
            raise EmbeddingSpaceChanged(digest=self.version.digest, expected=expected[:80])


@dataclass(frozen=True, kw_only=True)
class ClassificationRequest:
    """A version, the input of its image tower, and the classes that it may choose from."""

    version: Version
    input: ImageInput
    texts: ClassTexts


class Classifier(Protocol):
    def classify(
        self, request: ClassificationRequest, images: Sequence[bytes], *, top_k: int
    ) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Return a list of `{"class", "probability"}` for each image, most probable first.

        The images are pixels of the version's input. Raises InferenceUnavailable; InferenceBusy;
        NotServable when the version's weights are missing; FieldInvalid when the version cannot
        take the classes.
        """


def classification_of(
    resolved: Resolved, classes: Sequence[str], *, prompts: Sequence[str] = ()
) -> ClassificationRequest:
    """Return the request to classify by these classes, each with all of the prompt templates.

    Without classes, those that the version has learned are taken; without templates, its prompt.
    Raises ClassInvalid, PromptInvalid, and FieldInvalid for no class or too many, and for too many
    prompts.
    """
    classes = classes or resolved.version.classes
    if not classes:
        raise FieldInvalid(
            f"Version {resolved.version.number} has learned no classes to choose from by default: "
            "send `classes`.",
            pointer="/classes",
        )
    if len(classes) > MAX_CLASSES:  # before any is read, or remembered
        raise FieldInvalid(f"Send at most {MAX_CLASSES:,} classes.", pointer="/classes")
    if len(classes) * len(prompts) > MAX_PROMPTS:
        raise FieldInvalid(
            f"{len(classes):,} classes with {len(prompts):,} prompts each are more than "
            f"{MAX_PROMPTS:,} prompts: send fewer of either.",
            pointer="/prompts",
        )
    templates = [PromptTemplate(text) for text in prompts] or [resolved.version.prompt]
    texts = class_texts(tuple(classes), *templates)
    return ClassificationRequest(version=resolved.version, input=resolved.input, texts=texts)
