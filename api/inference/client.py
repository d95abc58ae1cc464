"""Client of the inference process."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from pydantic import SecretStr

from api.inference.questions import ClassifyImages, EmbedImages, EmbedTexts, Question, Row
from api.inference.replicas import FAULTS, Replicas
from api.inference.reply import Reply
from api.inference.shared_calls import MAX_CALLS, SharedCalls
from core import logs
from core.errors import InferenceUnavailable
from core.inference_wire import MEDIA_TYPE, Embedded, write_request
from core.ports import ClassificationRequest
from core.settings import Settings
from core.use_cases.access.authenticate import make_key

LOGGED_IDS = 64  # requests of a call whose ids are sent; a head may have 16 KiB

Answer = list[dict[str, Any]]  # the most probable classes with their probabilities


class Classified(NamedTuple):
    """An image's most probable classes, and its two greatest cosines with any of the classes."""

    predictions: Answer
    cosines: Sequence[float]  # one if there is one class


def with_inference_key(settings: Settings) -> Settings:
    """Return the settings with a key for the inference process: theirs, or a fresh one.

    In embedded mode no other process has to know the key.
    """
    if settings.inference_key.get_secret_value():
        return settings
    return settings.model_copy(update={"inference_key": SecretStr(make_key())})


class Inference:
    """HTTP client of `worker.inference` and its replicas, over the internal network."""

    def __init__(self, settings: Settings) -> None:
        key = settings.inference_key.get_secret_value()
        self._replicas = Replicas(settings.inference_replicas, {"Authorization": f"Bearer {key}"})
        replicas = len(settings.inference_replicas)
        # Of calls that ask the same, a GPU computes one while the next one is on its way. Cores are
        # better used by fewer, larger calls: what lies between them is work of the same cores.
        self._calls: SharedCalls[Question, Any] = SharedCalls(
            self._ask,
            most=lambda question: question.most,
            at_once=replicas * (1 if settings.device == "cpu" else 2),
            max_calls=MAX_CALLS * replicas,
        )

    async def answer(
        self, request: ClassificationRequest, images: Sequence[bytes], *, top_k: int
    ) -> list[Classified]:
        """Return what `classify` does, without a thread that waits for it, and the cosines."""
        waiting = self._submit(_question(request, top_k), images)
        return _named(request, await _results(waiting))

    def classify(
        self, request: ClassificationRequest, images: Sequence[bytes], *, top_k: int
    ) -> list[Answer]:
        """Return a list of `{"class", "probability"}` for each image, most probable first.

        The images are pixels of the version's input. Raises InferenceUnavailable; InferenceBusy;
        NotServable when the version's weights are missing; FieldInvalid when the version cannot
        take the classes.
        """
        waiting = self._submit(_question(request, top_k), images)
        found = _named(request, [future.result() for future in waiting])
        return [one.predictions for one in found]

    async def embed(
        self, question: EmbedImages | EmbedTexts, inputs: Sequence[bytes]
    ) -> list[Embedded]:
        """Return the L2-normalised vector of each input. Raises what `classify` raises."""
        if not inputs:
            return []
        waiting = self._submit(question, inputs)
        return [embedded for part in await _results(waiting) for embedded in part]

    def close(self) -> None:
        """Close the connections, after the calls in progress."""
        self._calls.close()
        self._replicas.close()

    def _submit(
        self, question: Question, inputs: Sequence[bytes]
    ) -> "Sequence[Future[Sequence[Any]]]":
        return self._calls.submit(question, inputs, logs.bound_value("request_id"))

    def _ask(
        self, question: Question, inputs: Sequence[bytes], request_ids: Sequence[str]
    ) -> Sequence[Any]:
        ids = list(dict.fromkeys(request_ids))[:LOGGED_IDS]
        headers = {"Content-Type": MEDIA_TYPE, "X-Request-Id": ",".join(ids)}

        def post(path: str, head: dict[str, Any], images: Sequence[bytes] = ()) -> Reply:
            try:
                return self._replicas.post(
                    path, content=write_request(head, images), headers=headers
                )
            except FAULTS as error:
                raise InferenceUnavailable from error

        return question.ask(post, inputs)


async def _results(parts: "Iterable[Future[Sequence[Any]]]") -> list[Sequence[Any]]:
    """Return the results of a request's parts; if one fails, those that still wait are given up."""
    waiting = [asyncio.wrap_future(part) for part in parts]
    try:
        return await asyncio.gather(*waiting)
    finally:
        for part in waiting:
            part.cancel()


def _question(request: ClassificationRequest, top_k: int) -> ClassifyImages:
    return ClassifyImages(
        digest=request.version.digest,
        texts=request.texts.digest,
        top_k=min(top_k, len(request.texts.classes)),
        image_bytes=request.input.size,
        prompts=request.texts.prompts,
        templates=request.texts.templates,
    )


def _named(request: ClassificationRequest, parts: Sequence[Sequence[Row]]) -> list[Classified]:
    """Return rows with the names of the classes."""
    return [Classified(list(_answer(request, row)), row.cosines) for part in parts for row in part]


def _answer(request: ClassificationRequest, row: Row) -> Iterator[dict[str, Any]]:
    for column, probability in row.best:
        yield {"class": request.texts.classes[column], "probability": probability}
