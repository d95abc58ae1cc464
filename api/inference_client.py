"""Client of the inference process."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import SecretStr

from api.shared_calls import SharedCalls
from core import logs
from core.domain.values import Digest
from core.errors import (
    FieldInvalid,
    InferenceBusy,
    InferenceUnavailable,
    NotServable,
    PerennialError,
)
from core.inference_limits import images_per_request
from core.inference_wire import MEDIA_TYPE, TEXTS_UNKNOWN, write_request
from core.ports import ClassificationRequest
from core.settings import Settings
from core.use_cases.access.authenticate import make_key

TIMEOUT_S = 60.0
KEEP_ALIVE_S = 5.0  # less than inference keeps an idle connection open

Row = list[tuple[int, float]]  # column and probability of the most probable classes
Answer = list[dict[str, Any]]  # the same with the classes' names


def with_inference_key(settings: Settings) -> Settings:
    """Return the settings with a key for the inference process: theirs, or a fresh one.

    In embedded mode no other process has to know the key.
    """
    if settings.inference_key.get_secret_value():
        return settings
    return settings.model_copy(update={"inference_key": SecretStr(make_key())})


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What is asked about images; requests that ask the same share a call."""

    digest: Digest
    texts: Digest
    top_k: int
    image_bytes: int
    prompts: Sequence[str] = field(compare=False)  # those that `texts` names


class Inference:
    """HTTP client of `worker.inference`, over loopback or the internal network."""

    def __init__(self, settings: Settings) -> None:
        self._http = httpx.Client(
            base_url=settings.inference,
            timeout=httpx.Timeout(TIMEOUT_S, connect=2.0),
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_S),
            headers={"Authorization": f"Bearer {settings.inference_key.get_secret_value()}"},
            trust_env=False,  # never send requests to our own process through a proxy
        )
        # Of calls that ask the same, a GPU computes one while the next one is on its way. Cores are
        # better used by fewer, larger calls: what lies between them is work of the same cores.
        self._calls: SharedCalls[_Question, Row] = SharedCalls(
            self._ask, most=_most_images, at_once=1 if settings.device == "cpu" else 2
        )

    async def answer(
        self, request: ClassificationRequest, images: Sequence[bytes], *, top_k: int
    ) -> list[Answer]:
        """Return what `classify` does, without a thread that waits for it."""
        waiting = map(asyncio.wrap_future, self._submit(request, images, top_k))
        return _named(request, await asyncio.gather(*waiting))

    def classify(
        self, request: ClassificationRequest, images: Sequence[bytes], *, top_k: int
    ) -> list[Answer]:
        """Return a list of `{"class", "probability"}` for each image, most probable first.

        The images are pixels of the version's input. Raises InferenceUnavailable; InferenceBusy;
        NotServable when the version's weights are missing; FieldInvalid when the version cannot
        take the classes.
        """
        waiting = self._submit(request, images, top_k)
        return _named(request, [future.result() for future in waiting])

    def close(self) -> None:
        """Close the connections, after the calls in progress."""
        self._calls.close()
        self._http.close()

    def _submit(
        self, request: ClassificationRequest, images: Sequence[bytes], top_k: int
    ) -> "Sequence[Future[Sequence[Row]]]":
        question = _Question(
            digest=request.version.digest,
            texts=request.texts.digest,
            top_k=min(top_k, len(request.texts.classes)),
            image_bytes=request.input.size,
            prompts=request.texts.prompts,
        )
        return self._calls.submit(question, images, logs.bound_value("request_id"))

    def _ask(
        self, question: _Question, images: Sequence[bytes], request_ids: Sequence[str]
    ) -> Sequence[Row]:
        """Make one call; the texts are sent only if the inference process does not know them."""
        head: dict[str, Any] = {
            "digest": question.digest,
            "texts": question.texts,
            "top_k": question.top_k,
        }
        response = self._post(head, images, request_ids)
        if _code_of(response) == TEXTS_UNKNOWN:
            response = self._post({**head, "prompts": question.prompts}, images, request_ids)
        if not response.is_success:
            raise _error_from(response)
        rows: Sequence[Row] = response.json()["predictions"]
        return rows

    def _post(
        self, head: dict[str, Any], images: Sequence[bytes], request_ids: Sequence[str]
    ) -> httpx.Response:
        headers = {"Content-Type": MEDIA_TYPE, "X-Request-Id": ",".join(request_ids)}
        try:
            body = write_request(head, images)
            return self._http.post("/classify", content=body, headers=headers)
        except httpx.TransportError as error:
            raise InferenceUnavailable from error


def _most_images(question: _Question) -> int:
    return images_per_request(question.image_bytes)


def _named(request: ClassificationRequest, parts: Sequence[Sequence[Row]]) -> list[Answer]:
    """Return rows with the names of the classes."""
    return [list(_answer(request, row)) for part in parts for row in part]


def _answer(request: ClassificationRequest, row: Row) -> Iterator[dict[str, Any]]:
    for column, probability in row:
        yield {"class": request.texts.classes[column], "probability": probability}


def _code_of(response: httpx.Response) -> str | None:
    if response.is_success or response.headers.get("content-type") != "application/json":
        return None
    code: str | None = response.json().get("code")
    return code


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
