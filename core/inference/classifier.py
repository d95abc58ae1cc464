"""What classifies: the process with torch, for the API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.recipes.rules import ClassTexts
from core.registry.versions import Version
from core.values import ImageInput


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
