"""Client of the inference process, which may have several replicas."""

import asyncio
import logging
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, NamedTuple

import httpcore
import httpx
from pydantic import SecretStr

from api.inference_client.questions import (
    MAX_CALLS,
    ClassifyImages,
    EmbedImages,
    EmbedTexts,
    Question,
    Reply,
    Row,
    SharedCalls,
    successful,
)
from core import logs
from core.access.authenticate import make_key
from core.errors import EngineUnavailable, InferenceUnavailable
from core.inference.classify import ClassificationRequest
from core.inference.wire import DEVICE, MEDIA_TYPE, Embedded, write_request
from core.registry.versions import ServingPrecision, Version
from core.settings import Settings

TIMEOUT_S = 60.0
CONNECT_S = 2.0
KEEP_ALIVE_S = 5.0  # less than inference keeps an idle connection open
AVOIDED_S = 2.0  # after a broken connection, as long as there are other replicas
_TIMEOUTS = {"connect": CONNECT_S, "read": TIMEOUT_S, "write": TIMEOUT_S, "pool": TIMEOUT_S}

FAULTS = (  # that keep a call from being answered
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Replica:
    url: httpx.URL
    calls: int = 0  # under way
    avoided_until: float = 0.0

    def target(self, path: str) -> httpcore.URL:
        """Return the URL of a path."""
        url = self.url
        target = url.raw_path.rstrip(b"/") + path.encode()
        return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target)


class Replicas:
    """Clients of several inference processes that answer alike.

    A call whose connection breaks is made again at another replica, since an answer depends on the
    call alone and changes nothing. Each replica is tried once.
    """

    def __init__(self, urls: Sequence[str], headers: Mapping[str, str]) -> None:
        """Prepare to call the processes at these URLs; nothing is sent yet."""
        self._lock = Lock()
        self._replicas = [_Replica(httpx.URL(url)) for url in urls]
        self._headers = _encoded(headers)
        # httpcore alone does all that is needed here. Requests to our own processes never go
        # through a proxy that the environment names.
        self._connections = httpcore.ConnectionPool(
            ssl_context=_trust(), max_connections=None, keepalive_expiry=KEEP_ALIVE_S
        )

    def post(self, path: str, *, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Return the response of the first replica that gives one.

        Raises one of FAULTS if none does, or if one takes too long to answer.
        """
        left = list(self._replicas)
        while True:
            replica = self._take(left)
            try:
                return self._send(replica, path, content, headers)
            except FAULTS as error:
                is_slow = isinstance(error, httpcore.TimeoutException)
                if not left or (is_slow and not isinstance(error, httpcore.ConnectTimeout)):
                    raise
                log.warning(
                    "no answer from inference at %s: %r; asking another", replica.url, error
                )
                replica.avoided_until = time.monotonic() + AVOIDED_S
            finally:
                with self._lock:
                    replica.calls -= 1

    def post_to_each(
        self, path: str, *, content: bytes, headers: Mapping[str, str]
    ) -> Iterator[Reply]:
        """Yield the response of each replica. Raises one of FAULTS if one gives none."""
        for replica in tuple(self._replicas):
            yield self._send(replica, path, content, headers)

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def _send(
        self, replica: _Replica, path: str, content: bytes, headers: Mapping[str, str]
    ) -> Reply:
        own = [(b"Host", replica.url.netloc), (b"Content-Length", b"%d" % len(content))]
        response = self._connections.request(
            "POST",
            replica.target(path),
            headers=[*own, *self._headers, *_encoded(headers)],
            content=content,
            extensions={"timeout": _TIMEOUTS},
        )
        named = {name.lower(): value for name, value in response.headers}
        media_type = named.get(b"content-type", b"")
        on_gpu = named.get(DEVICE.lower().encode()) == b"cuda"
        return Reply(response.status, media_type.decode("latin-1"), response.content, on_gpu)

    def _take(self, left: list[_Replica]) -> _Replica:
        """Take the replica with the fewest calls from those that are left, broken ones last."""
        now = time.monotonic()
        with self._lock:
            found = min(left, key=lambda one: (one.avoided_until > now, one.calls))
            left.remove(found)
            found.calls += 1
            # Of equals, the next call goes to one that has waited longer.
            self._replicas.remove(found)
            self._replicas.append(found)
        return found


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


@cache
def _trust() -> ssl.SSLContext:
    """Return what trusts certifi's certificates, which take long to read."""
    return httpx.create_ssl_context(trust_env=False)


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
        self._count = replicas = len(settings.inference_replicas)
        self._calls: SharedCalls[Question, Any] = SharedCalls(
            self._ask,
            most=lambda question: question.most,
            at_once=replicas,
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

    def require(self, version: Version) -> None:
        """Raise unless each replica loads and asks a version that is not in fp32.

        Raises EngineUnavailable, InferenceUnavailable, InferenceBusy or NotServable.
        """
        if version.precision is ServingPrecision.FP32:
            return
        content = write_request({"digest": version.digest, "texts": ["a"]})
        headers = {"Content-Type": MEDIA_TYPE, "X-Request-Id": logs.bound_value("request_id")}
        served = f"serve version {version.number} in {version.precision}"
        try:
            for reply in self._replicas.post_to_each("/embed", content=content, headers=headers):
                successful(reply)
        except EngineUnavailable as error:
            raise EngineUnavailable(
                f"An inference process cannot {served}: {error.message}"
            ) from error
        except FAULTS as error:
            raise InferenceUnavailable(
                f"An inference process does not respond, so it may not be able to {served}."
            ) from error

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
                reply = self._replicas.post(
                    path, content=write_request(head, images), headers=headers
                )
            except FAULTS as error:
                raise InferenceUnavailable from error
            # Of calls that ask the same, a GPU computes one while the next is on its way. Cores are
            # better used by fewer, larger calls: what lies between them is work of the same cores.
            if reply.on_gpu:
                self._calls.at_once = 2 * self._count
            return reply

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
    names = request.texts.classes
    return [
        Classified([{"class": names[n], "probability": p} for n, p in row.best], row.cosines)
        for part in parts
        for row in part
    ]
