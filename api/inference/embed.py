"""Route that embeds images or texts with a version."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import unpack
from typing import Annotated, Literal, cast, get_args

from fastapi import Request, Response
from pydantic import Field

from api.datasets.schemas import ReceiptError
from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.bodies import media_type_of
from api.http.forms import text_field
from api.http.json_bodies import read_json
from api.http.routing import FORM, JSON, Routes, ThreadRoute, written
from api.http.schemas import RequestModel, ResponseModel
from api.inference.images import (
    EXPECT_DIGEST,
    FIELDS,
    FORM_ERRORS,
    ReceivedImage,
    readable_pixels,
    received_images,
)
from api.inference_client import questions
from api.inference_client.questions import EmbedImages
from api.openapi_document import multipart
from core import errors
from core.inference.classify import Resolved
from core.inference.wire import Embedded
from core.principal import Role

router = Routes(prefix="/v1/models/{reference}/embed", tags=["inference"], route_class=ThreadRoute)

MAX_INPUTS = 2048  # as many as OpenAI's API takes
MAX_TEXT = 2000  # characters; a tower reads the first 77 tokens or so

EncodingFormat = Literal["float", "base64"]
Vector = list[float] | str
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]

Format = Annotated[
    EncodingFormat,
    Field(description="`base64` is that of the vector's little-endian float32 values."),
]


class EmbedTexts(RequestModel):
    """Texts to embed."""

    texts: list[Text] = Field(
        min_length=1,
        max_length=MAX_INPUTS,
        examples=[["a photo of a boot"]],
        description="What is longer than the version's context is cut.",
    )
    encoding_format: Format = "float"
    expect_digest: str | None = Field(None, max_length=80, description=EXPECT_DIGEST)


class InputVector(ResponseModel):
    """The L2-normalised vector of an image or text, or why an image has none."""

    file: str | None = Field(examples=["boot-1.jpg"], description="Null for a text.")
    embedding: Vector | None = Field(examples=[[0.6, -0.8]])
    error: ReceiptError | None = None


class EmbedView(ResponseModel):
    """The vectors in the order the inputs were sent, and the version that computed them."""

    model: str
    version: int
    digest: str
    width: int = Field(examples=[2], description="The number of values of each vector.")
    data: list[InputVector]


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

_BODY["requestBody"]["content"][JSON] = {"schema": EmbedTexts.model_json_schema()}


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The inputs of a request and their vectors."""

    inputs: Sequence[ReceivedImage | None]  # None for a text
    vectors: Sequence[Embedded]  # of those that were not refused
    encoding_format: EncodingFormat


@router.post("", Role.VIEWER, *FORM_ERRORS, response_model=EmbedView, openapi_extra=_BODY)
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
    asked = await read_json(request, EmbedTexts)
    resolved.require_digest(asked.expect_digest)
    question = questions.EmbedTexts(digest=resolved.version.digest)
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


def vector_of(row: bytes, encoding_format: EncodingFormat) -> Vector:
    """Return a vector of little-endian float32 values in the asked form."""
    if encoding_format == "base64":
        return b64encode(row).decode()
    return list(unpack(f"<{len(row) // 4}f", row))
