"""The inference process's own small HTTP surface, for the API process alone."""

import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData, UploadFile
from starlette.middleware.base import RequestResponseEndpoint
from starlette.responses import Response

from core import logs
from core.domain.values import Digest
from core.errors import FieldInvalid, Invalid, NotFound, PerennialError
from worker.classifier import Classifier
from worker.live_models import LiveModels

log = logging.getLogger(__name__)

MAX_IMAGES = 1000
MAX_FIELD_BYTES = 16 * 1024 * 1024  # ten thousand classes with their prompts


def make_inference_app(
    models: LiveModels,
    classifier: Classifier,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
) -> FastAPI:
    """`POST /classify`, `POST /embed`, `GET /healthz`. Forms carry JSON lists and images."""
    app = FastAPI(openapi_url=None, lifespan=lifespan)

    @app.post("/classify")
    async def classify(request: Request) -> dict[str, Any]:
        async with _form(request) as form:
            digest = Digest(_text(form, "digest"))
            predictions = await run_in_threadpool(
                classifier.classify,
                digest,
                images=await _images(form),
                classes=_list(form, "classes"),
                prompts=_list(form, "prompts"),
                top_k=_whole(form, "top_k"),
            )
        return {"digest": digest, "predictions": predictions}

    @app.post("/embed")
    async def embed(request: Request) -> dict[str, Any]:
        async with _form(request) as form:
            digest = Digest(_text(form, "digest"))
            texts = _list(form, "texts") if "texts" in form else []
            features = await run_in_threadpool(
                classifier.embed, digest, images=await _images(form), texts=texts
            )
        return {"digest": digest, **features}

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok", "digests": models.digests()}

    @app.middleware("http")
    async def told(request: Request, go_on: RequestResponseEndpoint) -> Response:
        """One line a request, under the id that the API gave it."""
        logs.begin(request_id=request.headers.get("x-request-id", ""))
        began = time.perf_counter()
        answer = await go_on(request)
        facts = {"status": answer.status_code, "seconds": round(time.perf_counter() - began, 4)}
        level = logging.DEBUG if request.url.path == "/healthz" else logging.INFO
        log.log(level, "request", extra={"route": request.url.path, **facts})
        return answer

    @app.exception_handler(PerennialError)
    async def tell(_: Request, fault: Exception) -> JSONResponse:
        return _problem(fault)

    return app


def _problem(fault: Exception) -> JSONResponse:
    if not isinstance(fault, PerennialError):
        raise fault
    status = 404 if isinstance(fault, NotFound) else 422 if isinstance(fault, Invalid) else 503
    return JSONResponse({"code": fault.code, "message": fault.message}, status_code=status)


def _form(request: Request) -> AbstractAsyncContextManager[FormData]:
    return request.form(max_files=MAX_IMAGES, max_fields=8, max_part_size=MAX_FIELD_BYTES)


async def _images(form: FormData) -> list[bytes]:
    """Every file of the form, in order, whatever its field is called."""
    return [await part.read() for _, part in form.multi_items() if isinstance(part, UploadFile)]


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str):
        raise FieldInvalid(f"The form needs a field {name!r}.", pointer=f"/{name}")
    return value


def _whole(form: FormData, name: str) -> int:
    value = _text(form, name)
    if not value.isdigit() or not 0 < len(value) < 9 or int(value) == 0:
        raise FieldInvalid(f"{name} must be a positive whole number.", pointer=f"/{name}")
    return int(value)


def _list(form: FormData, name: str) -> list[str]:
    try:
        value = json.loads(_text(form, name))
    except ValueError:
        value = None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FieldInvalid(f"{name} must be a JSON list of texts.", pointer=f"/{name}")
    return value
