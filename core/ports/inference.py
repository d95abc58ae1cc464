"""Port for the classification of images by a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.domain.registry.version import Model, Version


@dataclass(frozen=True, kw_only=True)
class ClassificationRequest:
    """A version, the classes it may choose from, and the prompt of each."""

    model: Model
    version: Version
    classes: tuple[str, ...]
    prompts: tuple[str, ...]


class Classifier(Protocol):
    def classify(
        self, request: ClassificationRequest, images: Sequence[bytes], *, top_k: int
    ) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Return a list of `{"class", "probability"}` for each image, most probable first.

        The images are in their stored form. Raises InferenceUnavailable; InferenceBusy;
        NotServable when the version's weights are missing; FieldInvalid when the version cannot
        take the classes.
        """
