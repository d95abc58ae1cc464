"""The HTTP interface of the inference process, used only by the API process."""

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
from core.errors import FieldInvalid, PerennialError
from core.inference_limits import MAX_FIELD_BYTES, MAX_IMAGES, body_limit
from core.settings import Settings
from worker.inference.admission import OPEN_PATH, AdmissionControl
from worker.inference.classifier import Classifier
from worker.inference.model_cache import ModelCache
from worker.inference.problems import problem

log = logging.getLogger(__name__)


def make_inference_app(
    models: ModelCache,
    classifier: Classifier,
    settings: Settings,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
) -> FastAPI:
    """Return an app with `POST /classify`, `POST /embed`, `GET /loaded` and `GET /healthz`.

    All but the last need the key. Forms carry JSON lists and images in their stored form.
    """
    app = FastAPI(openapi_url=None, lifespan=lifespan)
    app.add_middleware(
        AdmissionControl,
        key=settings.inference_key.get_secret_value(),
        max_body_bytes=body_limit(settings.stored_side),
    )

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
                top_k=_positive_integer(form, "top_k"),
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

    @app.get("/loaded")
    async def loaded() -> dict[str, Any]:
        return {"digests": models.digests()}

    @app.get(OPEN_PATH)
    async def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @app.middleware("http")
    async def log_request(request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Log one line per request, with the id that the API gave it."""
        logs.bind(request_id=request.headers.get("x-request-id", ""))
        began = time.perf_counter()
        answer = await call_next(request)
        facts = {"status": answer.status_code, "seconds": round(time.perf_counter() - began, 4)}
        level = logging.DEBUG if request.url.path == OPEN_PATH else logging.INFO
        log.log(level, "request", extra={"route": request.url.path, **facts})
        return answer

    @app.exception_handler(PerennialError)
    async def report(_: Request, fault: PerennialError) -> JSONResponse:
        return problem(fault)

    return app


def _form(request: Request) -> AbstractAsyncContextManager[FormData]:
    return request.form(max_files=MAX_IMAGES, max_fields=8, max_part_size=MAX_FIELD_BYTES)


async def _images(form: FormData) -> list[bytes]:
    """Return every file of the form, in order, whatever its field is called."""
    return [await part.read() for _, part in form.multi_items() if isinstance(part, UploadFile)]


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str):
        raise FieldInvalid(f"The form needs a field {name!r}.", pointer=f"/{name}")
    return value


def _positive_integer(form: FormData, name: str) -> int:
    value = _text(form, name)
    if not value.isascii() or not value.isdigit() or not 0 < len(value) < 9 or int(value) == 0:
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
