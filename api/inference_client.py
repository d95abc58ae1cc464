"""Client of the inference process."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from pydantic import SecretStr

from core import logs
from core.errors import (
    FieldInvalid,
    InferenceBusy,
    InferenceUnavailable,
    NotServable,
    PerennialError,
)
from core.inference_limits import chunked
from core.ports import ClassificationRequest
from core.settings import Settings
from core.use_cases.access.authenticate import make_key

TIMEOUT_S = 60.0


def with_inference_key(settings: Settings) -> Settings:
    """Return the settings with a key for the inference process: theirs, or a fresh one.

    In embedded mode no other process has to know the key.
    """
    if settings.inference_key.get_secret_value():
        return settings
    return settings.model_copy(update={"inference_key": SecretStr(make_key())})


class Inference:
    """HTTP client of `worker.inference`, over loopback or the internal network."""

    def __init__(self, settings: Settings) -> None:
        self._http = httpx.Client(
            base_url=settings.inference,
            timeout=httpx.Timeout(TIMEOUT_S, connect=2.0),
            headers={"Authorization": f"Bearer {settings.inference_key.get_secret_value()}"},
            trust_env=False,  # never send requests to our own process through a proxy
        )

    def classify(
        self, request: ClassificationRequest, images: Sequence[bytes], *, top_k: int
    ) -> list[list[Any]]:
        """Return a list of `{"class", "probability"}` for each image, most probable first.

        The images are in their stored form. Raises InferenceUnavailable; InferenceBusy;
        NotServable when the version's weights are missing; FieldInvalid when the version cannot
        take the classes.
        """
        fields = {
            "digest": request.version.digest,
            "classes": json.dumps(request.classes, ensure_ascii=False),
            "prompts": json.dumps(request.prompts, ensure_ascii=False),
            "top_k": str(top_k),
        }
        return [row for part in chunked(images) for row in self._classify(fields, part)]

    def _classify(self, fields: Mapping[str, str], images: Sequence[bytes]) -> list[list[Any]]:
        files = [("images", (str(index), data, "image/webp")) for index, data in enumerate(images)]
        try:
            headers = {"X-Request-Id": logs.bound_value("request_id")}
            response = self._http.post("/classify", data=fields, files=files, headers=headers)
        except httpx.TransportError as error:
            raise InferenceUnavailable from error
        if not response.is_success:
            raise _error_from(response)
        predictions: list[list[Any]] = response.json()["predictions"]
        return predictions

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _error_from(response: httpx.Response) -> PerennialError:
    body = response.json() if response.headers.get("content-type") == "application/json" else {}
    message = str(body.get("message", f"The inference process returned {response.status_code}."))
    if response.status_code == 401:
        return InferenceUnavailable(
            "The inference process rejected this service's key: set PERENNIAL_INFERENCE_KEY to the "
            "same key for both."
        )
    if body.get("code") == "inference_busy":
        return InferenceBusy()
    kinds: dict[int, type[PerennialError]] = {404: NotServable, 422: FieldInvalid}
    return kinds.get(response.status_code, InferenceUnavailable)(message)
