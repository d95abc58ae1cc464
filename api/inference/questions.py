"""Questions to the inference process about images or texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from api.inference.reply import Reply
from core.domain.values import Digest
from core.errors import (
    FieldInvalid,
    InferenceBusy,
    InferenceUnavailable,
    NotServable,
    PerennialError,
)
from core.inference_limits import TEXTS_AT_ONCE, images_per_request
from core.inference_wire import TEXTS_UNKNOWN, Embedded, read_embedded


class Row(NamedTuple):
    """The answer for an image: columns and probabilities of classes, two greatest cosines."""

    best: Sequence[tuple[int, float]]  # the most probable first
    cosines: Sequence[float]  # one if there is one class


class Post(Protocol):
    def __call__(self, path: str, head: dict[str, Any], images: Sequence[bytes] = ()) -> Reply:
        """Send a request and return the response. Raises InferenceUnavailable."""


class Question(Protocol):
    """A question about inputs; requests that ask the same share a call."""

    @property
    def most(self) -> int:
        """The most inputs of one call."""

    def ask(self, post: Post, inputs: Sequence[bytes]) -> Sequence[Any]:
        """Make one call and return a result for each input."""


@dataclass(frozen=True, kw_only=True)
class ClassifyImages:
    """A classification of images by texts; inputs are pixels, a result is a `Row`."""

    digest: Digest
    texts: Digest
    top_k: int
    image_bytes: int
    prompts: Sequence[str] = field(compare=False)  # those that `texts` names
    templates: int = field(compare=False)  # how many prompts stand for a class

    @property
    def most(self) -> int:
        """The most images of one call."""
        return images_per_request(self.image_bytes)

    def ask(self, post: Post, inputs: Sequence[bytes]) -> Sequence[Row]:
        """Make one call; the texts are sent only if the inference process does not know them."""
        head: dict[str, Any] = {"digest": self.digest, "texts": self.texts, "top_k": self.top_k}
        response = post("/classify", head, inputs)
        if _code_of(response) == TEXTS_UNKNOWN:
            head |= {"prompts": self.prompts, "templates": self.templates}
            response = post("/classify", head, inputs)
        found = _successful(response).json()
        return list(map(Row, found["predictions"], found["cosines"]))


@dataclass(frozen=True, kw_only=True)
class EmbedImages:
    """The vectors of images; inputs are pixels."""

    digest: Digest
    image_bytes: int

    @property
    def most(self) -> int:
        """The most images of one call."""
        return images_per_request(self.image_bytes)

    def ask(self, post: Post, inputs: Sequence[bytes]) -> Sequence[Embedded]:
        """Make one call and return a vector for each image."""
        return _embedded(post("/embed", {"digest": self.digest}, inputs), len(inputs))


@dataclass(frozen=True, kw_only=True)
class EmbedTexts:
    """The vectors of texts; inputs are texts in UTF-8."""

    digest: Digest
    most: int = TEXTS_AT_ONCE

    def ask(self, post: Post, inputs: Sequence[bytes]) -> Sequence[Embedded]:
        """Make one call and return a vector for each text."""
        texts = [text.decode() for text in inputs]
        return _embedded(post("/embed", {"digest": self.digest, "texts": texts}), len(inputs))


def _embedded(response: Reply, count: int) -> Sequence[Embedded]:
    return read_embedded(_successful(response).content, count)


def _successful(response: Reply) -> Reply:
    if not response.is_success:
        raise _error_from(response)
    return response


def _code_of(response: Reply) -> str | None:
    if response.is_success or response.media_type != "application/json":
        return None
    code: str | None = response.json().get("code")
    return code


def _error_from(response: Reply) -> PerennialError:
    body = response.json() if response.media_type == "application/json" else {}
    message = str(body.get("message", f"The inference process returned {response.status}."))
    if response.status == 401:
        return InferenceUnavailable(
            "The inference process rejected this service's key: set PERENNIAL_INFERENCE_KEY to the "
            "same key for both."
        )
    if body.get("code") == "inference_busy":
        return InferenceBusy()
    kinds: dict[int, type[PerennialError]] = {404: NotServable, 422: FieldInvalid}
    return kinds.get(response.status, InferenceUnavailable)(message)
