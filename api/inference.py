"""The API's side of the inference process."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from core import logs
from core.domain.values import Digest
from core.errors import FieldInvalid, InferenceUnavailable, NotServable, PerennialError
from core.settings import Settings

TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Classification:
    """What an image is asked: which of these classes, by these prompts, is it?"""

    digest: Digest  # of the version that answers
    classes: Sequence[str]
    prompts: Sequence[str]  # one a class
    top_k: int


class Inference:
    """Speaks to `worker.serving` over loopback or the internal network."""

    def __init__(self, settings: Settings) -> None:
        self._http = httpx.Client(
            base_url=settings.inference,
            timeout=httpx.Timeout(TIMEOUT_S, connect=2.0),
            trust_env=False,  # no proxy of this machine's lies on the way to our own process
        )

    def classify(self, asked: Classification, images: Sequence[bytes]) -> list[list[Any]]:
        """`[{"class", "probability"}]` for each image, best first.

        The images are stored forms. Raises InferenceUnavailable, NotServable when the
        version's weights are not there, FieldInvalid when it cannot take the classes.
        """
        fields = {
            "digest": asked.digest,
            "classes": json.dumps(list(asked.classes)),
            "prompts": json.dumps(list(asked.prompts)),
            "top_k": str(asked.top_k),
        }
        files = [("images", (str(index), data, "image/webp")) for index, data in enumerate(images)]
        try:
            headers = {"X-Request-Id": logs.fact("request_id")}
            answer = self._http.post("/classify", data=fields, files=files, headers=headers)
        except httpx.TransportError as error:
            raise InferenceUnavailable from error
        if not answer.is_success:
            raise _refusal(answer)
        predictions: list[list[Any]] = answer.json()["predictions"]
        return predictions

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _refusal(answer: httpx.Response) -> PerennialError:
    told = answer.json() if answer.headers.get("content-type") == "application/json" else {}
    message = str(told.get("message", f"The inference process answered {answer.status_code}."))
    kinds: dict[int, type[PerennialError]] = {404: NotServable, 422: FieldInvalid}
    return kinds.get(answer.status_code, InferenceUnavailable)(message)
