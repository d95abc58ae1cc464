"""Route that embeds texts and images in the shape of OpenAI's API."""

import asyncio
from collections.abc import Callable, Sequence

from anyio.to_thread import run_sync
from fastapi import APIRouter, Response

from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.bodies.data_urls import image_of, is_data_url
from api.http.declared_route import JSON
from api.http.forms.uploads import IN_FLIGHT
from api.http.openai_errors import PATH
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.http.writing import written
from api.inference.questions import EmbedImages, EmbedTexts
from api.openapi_document import raises
from api.schemas.inference.embeddings import (
    MAX_TEXT,
    Embedding,
    EmbeddingList,
    NewEmbeddings,
    Usage,
    vector_of,
)
from api.tower_images import ERRORS
from core import errors
from core.domain.access.roles import Role
from core.inference_wire import Embedded
from core.use_cases.inference.classify import Resolved

router = APIRouter(tags=["inference"], route_class=ThreadRoute)

_Placed = Sequence[tuple[str, str]]  # inputs, each with the JSON pointer to it


@router.post(
    PATH,
    response_model=EmbeddingList,
    responses=raises(*ERRORS),
    openapi_extra=needs(Role.VIEWER),
)
async def create_embeddings(
    asked: NewEmbeddings, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Embed texts and images as OpenAI's clients ask for it: all of them, or none.

    Vectors are L2-normalised. Errors also have an `error`, as these clients read it.
    """
    resolved = await services.find_version(asked.model, principal)
    images = [one for one in asked.inputs if is_data_url(one[1])]
    texts = [one for one in asked.inputs if not is_data_url(one[1])]
    _require_texts(texts)
    _require_few(images, services.platform.settings.max_parts)
    of_images = await _embed_images(services, resolved, images)
    of_texts = await services.inference.embed(
        EmbedTexts(digest=resolved.version.digest), [text.encode() for _, text in texts]
    )
    pointers = [pointer for pointer, _ in [*images, *texts]]
    vectors = dict(zip(pointers, [*of_images, *of_texts], strict=True))
    found = [vectors[pointer] for pointer, _ in asked.inputs]
    width = len(found[0].vector) // 4
    _require_width(asked, width)
    return await written(width * len(found), _show, resolved, asked, found)


def _require_texts(texts: _Placed) -> None:
    for pointer, text in texts:
        if not 1 <= len(text) <= MAX_TEXT:
            raise errors.FieldInvalid(
                f"A text must have 1 to {MAX_TEXT:,} characters.", pointer=pointer
            )


def _require_few(images: _Placed, most: int) -> None:
    if len(images) > most:
        raise errors.FieldInvalid(f"Send at most {most:,} images.", pointer="/input")


def _require_width(asked: NewEmbeddings, width: int) -> None:
    if asked.dimensions not in {None, width}:
        raise errors.FieldInvalid(
            f"The vectors of this version have {width} dimensions: send {width}, or leave "
            "`dimensions` out.",
            pointer="/dimensions",
        )


async def _embed_images(
    services: Services, resolved: Resolved, images: _Placed
) -> Sequence[Embedded]:
    question = EmbedImages(digest=resolved.version.digest, image_bytes=resolved.input.size)
    with services.pixels.request() as take:
        pixels = await _decode(services, resolved, images, take)
        return await services.inference.embed(question, pixels)


async def _decode(
    services: Services, resolved: Resolved, images: _Placed, take: Callable[[int], None]
) -> list[bytes]:
    """Return the pixels of images in data URLs. Raises the refusal of one."""
    max_bytes = services.platform.settings.max_file_bytes

    def decode(pointer: str, url: str) -> bytes:
        try:
            data = image_of(url, max_bytes=max_bytes)
            take(resolved.input.size)
            return services.decoder.pixels(data, resolved.input)
        except errors.Invalid as refusal:
            raise type(refusal)(refusal.message, pointer=pointer, **refusal.facts) from refusal

    pixels: list[bytes] = []
    for first in range(0, len(images), IN_FLIGHT):  # so that other requests get a thread
        part = (
            run_sync(decode, *one, limiter=services.decoding)
            for one in images[first : first + IN_FLIGHT]
        )
        pixels += await asyncio.gather(*part)
    return pixels


def _show(resolved: Resolved, asked: NewEmbeddings, found: Sequence[Embedded]) -> Response:
    version = resolved.version
    read = sum(one.tokens for one in found)
    view = EmbeddingList(
        model=f"{resolved.model.name}:{version.number}@sha256:{version.digest}",
        data=[
            Embedding(index=index, embedding=vector_of(one.vector, asked.encoding_format))
            for index, one in enumerate(found)
        ],
        usage=Usage(prompt_tokens=read, total_tokens=read),
    )
    return Response(view.model_dump_json(), media_type=JSON)
