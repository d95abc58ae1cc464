"""Route that embeds images or texts with a version."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast, get_args

from fastapi import APIRouter, Request, Response

from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.bodies.archive_body import media_type_of
from api.http.bodies.json_body import read_json
from api.http.declared_route import FORM, JSON
from api.http.forms.uploads import text_field
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.http.writing import written
from api.inference.questions import EmbedImages, EmbedTexts
from api.openapi_document import multipart, raises
from api.schemas.inference import embeddings as schemas
from api.schemas.inference.embeddings import EmbedView, EncodingFormat, InputVector, vector_of
from api.tower_images import (
    FIELDS,
    FORM_ERRORS,
    ReceivedImage,
    readable_pixels,
    received_images,
)
from core import errors
from core.domain.access.roles import Role
from core.inference_wire import Embedded
from core.use_cases.inference.classify import Resolved

router = APIRouter(
    prefix="/v1/models/{reference}/embed", tags=["inference"], route_class=ThreadRoute
)

_BODY = multipart(
    {
        **FIELDS,
        "encoding_format": {
            "type": "string",
            "enum": list(get_args(EncodingFormat)),
            "default": "float",
        },
    },
    required=["images"],
)
_BODY["requestBody"]["content"][JSON] = {"schema": schemas.EmbedTexts.model_json_schema()}


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The inputs of a request and their vectors."""

    inputs: Sequence[ReceivedImage | None]  # None for a text
    vectors: Sequence[Embedded]  # of those that were not refused
    encoding_format: EncodingFormat


@router.post(
    "",
    response_model=EmbedView,
    responses=raises(*FORM_ERRORS),
    openapi_extra=_BODY | needs(Role.VIEWER),
)
async def embed_inputs(
    reference: str, request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Embed images, sent as a form, or texts, sent as JSON.

    `reference` is `name`, `name@alias`, `name:7` or `name@sha256:...`. Vectors are L2-normalised;
    those of one digest can be compared with each other, whether of images or of texts.
    """
    resolved = await services.find_version(reference, principal)
    match media_type_of(request.headers):
        case "application/json":
            asked = await _embed_texts(request, services, resolved)
        case "multipart/form-data":
            asked = await _embed_images(request, services, resolved)
        case _:
            raise errors.UnsupportedMediaType(f"Send images as {FORM}, or texts as {JSON}.")
    values = sum(len(one.vector) for one in asked.vectors) // 4
    return await written(values, _show, resolved, asked)


async def _embed_texts(request: Request, services: Services, resolved: Resolved) -> _Asked:
    asked = await read_json(request, schemas.EmbedTexts)
    resolved.require_digest(asked.expect_digest)
    question = EmbedTexts(digest=resolved.version.digest)
    texts = [text.encode() for text in asked.texts]
    vectors = await services.inference.embed(question, texts)
    return _Asked(
        inputs=[None] * len(texts), vectors=vectors, encoding_format=asked.encoding_format
    )


async def _embed_images(request: Request, services: Services, resolved: Resolved) -> _Asked:
    async with received_images(request, services, resolved, fields=["encoding_format"]) as form:
        encoding_format = _encoding_format(text_field(form.fields, "encoding_format"))
        readable = readable_pixels(form.files)
        question = EmbedImages(digest=resolved.version.digest, image_bytes=resolved.input.size)
        vectors = await services.inference.embed(question, readable)
    return _Asked(inputs=form.files, vectors=vectors, encoding_format=encoding_format)


def _encoding_format(text: str | None) -> EncodingFormat:
    known = get_args(EncodingFormat)
    if text is not None and text not in known:
        raise errors.FieldInvalid(
            f"encoding_format must be {' or '.join(known)}.", pointer="/encoding_format"
        )
    return cast(EncodingFormat, text or "float")


def _show(resolved: Resolved, asked: _Asked) -> Response:
    view = EmbedView(
        model=resolved.model.name,
        version=resolved.version.number,
        digest=resolved.version.digest,
        width=len(asked.vectors[0].vector) // 4,
        data=list(_rows(asked)),
    )
    return Response(view.model_dump_json(), media_type=JSON)


def _rows(asked: _Asked) -> Iterator[InputVector]:
    remaining = iter(asked.vectors)
    for image in asked.inputs:
        error = image and image.error
        vector = None if error else vector_of(next(remaining).vector, asked.encoding_format)
        yield InputVector(file=image and image.file, embedding=vector, error=error)
