"""The HTTP interface of the inference process, used only by the API process."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.domain.values import Digest
from core.errors import FieldInvalid, PerennialError
from core.inference_limits import MAX_BODY_BYTES
from core.inference_wire import (
    MEDIA_TYPE,
    TEXTS_UNKNOWN,
    read_request,
    write_embedded,
)
from core.settings import Settings
from worker.inference.admission import OPEN_PATH, AdmissionControl
from worker.inference.classifier import Classifier, TextsUnknown
from worker.inference.model_cache import ModelCache
from worker.inference.problems import problem
from worker.inference.request_log import RequestLog


def make_inference_app(
    models: ModelCache,
    classifier: Classifier,
    settings: Settings,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
) -> Starlette:
    """Return an app with `POST /classify`, `POST /embed`, `GET /loaded` and `GET /healthz`.

    All but the last need the key. Bodies are those of `core.inference_wire`.
    """

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
        return JSONResponse({"digest": digest, "predictions": predictions, "cosines": cosines})

    async def embed(request: Request) -> Response:
        head, pixels = read_request(await _body(request))
        digest = Digest(_text(head, "digest"))
        texts = _texts(head, "texts") if "texts" in head else []
        found = await run_in_threadpool(classifier.embed, digest, pixels=pixels, texts=texts)
        return Response(write_embedded(found), media_type=MEDIA_TYPE)

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
        exception_handlers={PerennialError: _report, TextsUnknown: _ask_for_texts},
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
        raise FieldInvalid(f"The request needs a text {name!r}.", pointer=f"/{name}")
    return value


def _positive_integer(head: Mapping[str, Any], name: str) -> int:
    value = head.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise FieldInvalid(f"{name} must be a positive whole number.", pointer=f"/{name}")
    return value


def _texts(head: Mapping[str, Any], name: str) -> Sequence[str]:
    value = head.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FieldInvalid(f"{name} must be a list of texts.", pointer=f"/{name}")
    return value
