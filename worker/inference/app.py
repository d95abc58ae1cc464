"""The HTTP interface of the inference process, used only by the API process."""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import errors, logs
from core.inference.wire import (
    DEVICE,
    MAX_BODY_BYTES,
    MEDIA_TYPE,
    TEXTS_UNKNOWN,
    read_request,
    write_embedded,
)
from core.settings import Settings
from core.values import Digest
from worker.inference.classifier import Classifier, TextsUnknown
from worker.inference.models import ModelCache

log = logging.getLogger(__name__)


def make_inference_app(
    models: ModelCache,
    classifier: Classifier,
    settings: Settings,
    device: str,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
) -> Starlette:
    """Return an app with `POST /classify`, `POST /embed`, `GET /loaded` and `GET /healthz`.

    All but the last need the key. Bodies are those of `core.inference.wire`.
    """

    headers = {DEVICE: device}

    async def classify(request: Request) -> Response:
        head, pixels = read_request(await _body(request))
        digest = Digest(_text(head, "digest"))
        found = await run_in_threadpool(
            classifier.classify,
            digest,
            pixels=pixels,
            texts=Digest(_text(head, "texts")),
            prompts=_texts(head, "prompts") if "prompts" in head else None,
            templates=_positive_integer(head, "templates") if "templates" in head else 1,
            top_k=_positive_integer(head, "top_k"),
        )
        predictions, cosines = zip(*found, strict=True)
        answer = {"digest": digest, "predictions": predictions, "cosines": cosines}
        return JSONResponse(answer, headers=headers)

    async def embed(request: Request) -> Response:
        head, pixels = read_request(await _body(request))
        digest = Digest(_text(head, "digest"))
        texts = _texts(head, "texts") if "texts" in head else []
        found = await run_in_threadpool(classifier.embed, digest, pixels=pixels, texts=texts)
        return Response(write_embedded(found), headers=headers, media_type=MEDIA_TYPE)

    async def loaded(_: Request) -> Response:
        return JSONResponse({"digests": models.digests()})

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/classify", classify, methods=["POST"]),
            Route("/embed", embed, methods=["POST"]),
            Route("/loaded", loaded),
            Route(OPEN_PATH, healthz),
        ],
        middleware=[
            Middleware(RequestLog),
            Middleware(
                AdmissionControl,
                key=settings.inference_key.get_secret_value(),
                max_body_bytes=MAX_BODY_BYTES,
            ),
        ],
        exception_handlers={errors.PerennialError: _report, TextsUnknown: _ask_for_texts},
        lifespan=lifespan,
    )


async def _report(_: Request, fault: Any) -> Response:
    return problem(fault)


async def _ask_for_texts(_: Request, fault: Exception) -> Response:
    return JSONResponse({"code": TEXTS_UNKNOWN, "message": str(fault.__doc__)}, 409)


async def _body(request: Request) -> bytearray:
    """Return the whole body, in memory that a tensor may share."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
    return body


def _text(head: Mapping[str, Any], name: str) -> str:
    value = head.get(name)
    if not isinstance(value, str):
        raise errors.FieldInvalid(f"The request needs a text {name!r}.", pointer=f"/{name}")
    return value


def _positive_integer(head: Mapping[str, Any], name: str) -> int:
    value = head.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise errors.FieldInvalid(f"{name} must be a positive whole number.", pointer=f"/{name}")
    return value


def _texts(head: Mapping[str, Any], name: str) -> Sequence[str]:
    value = head.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise errors.FieldInvalid(f"{name} must be a list of texts.", pointer=f"/{name}")
    return value


# Admission: the key, body sizes and concurrency.

OPEN_PATH = "/healthz"
MAX_REQUESTS = 32  # in progress: being read, waiting or being answered
MAX_BYTES = 512 * 1024 * 1024  # of the bodies of all requests in progress


class AdmissionControl:
    """Admits requests that carry the key, declare their length and fit within the limits.

    It refuses a request without reading its body: if the key is missing (as in a web page's post),
    if the body is too large or chunked, or if too many requests are in progress.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str,
        max_body_bytes: int,
        max_requests: int = MAX_REQUESTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._app = app
        self._key = key.encode()
        self._max_body_bytes = max_body_bytes
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._requests = 0
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == OPEN_PATH:
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._require_key(headers)
            size = self._length(headers)
            self._require_room(size)
        except errors.PerennialError as fault:
            await problem(fault)(scope, receive, send)
            return
        self._requests += 1
        self._bytes += size
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests -= 1
            self._bytes -= size

    def _require_key(self, headers: Headers) -> None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(key.encode(), self._key):
            raise errors.Unauthorised("The request's key is not PERENNIAL_INFERENCE_KEY.")

    def _length(self, headers: Headers) -> int:
        if "transfer-encoding" in headers:
            raise errors.Malformed("Send Content-Length, not Transfer-Encoding.")
        size = int(headers.get("content-length", "0"))
        if size > self._max_body_bytes:
            raise errors.BodyTooLarge(f"The body is larger than {self._max_body_bytes:,} bytes.")
        return size

    def _require_room(self, size: int) -> None:
        if self._requests >= self._max_requests or self._bytes + size > self._max_bytes:
            raise errors.InferenceBusy


# One line of log for each request.


class RequestLog:
    """Logs requests with the ids that the API gave them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        logs.bind(request_id=Headers(scope=scope).get("x-request-id", ""))
        began, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await self._app(scope, receive, noted)
        level = logging.DEBUG if scope["path"] == OPEN_PATH else logging.INFO
        seconds = round(time.perf_counter() - began, 4)
        log.log(
            level,
            "request",
            extra={"route": scope["path"], "status": status, "seconds": seconds},
        )


# Error responses.

RETRY_AFTER_S = 1
# The most specific class of an error decides; errors that the caller has not made are 503.
_STATUS: Mapping[type[BaseException], int] = {
    errors.Malformed: 400,
    errors.Unauthorised: 401,
    errors.NotFound: 404,
    errors.TooLarge: 413,
    errors.Unsupported: 415,
    errors.Invalid: 422,
    errors.PerennialError: 503,
}


def problem(fault: errors.PerennialError) -> JSONResponse:
    """Return code and message as JSON, from which the API makes its own response."""
    status = next(_STATUS[step] for step in type(fault).__mro__ if step in _STATUS)
    headers = {503: {"Retry-After": str(RETRY_AFTER_S)}, 401: {"WWW-Authenticate": "Bearer"}}
    return JSONResponse(
        {"code": fault.code, "message": fault.message}, status, headers=headers.get(status)
    )
