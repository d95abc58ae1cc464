"""Route that embeds texts and images in the shape of OpenAI's API."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from fastapi import Response
from pydantic import Field, field_validator

from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.bodies import image_of, is_data_url
from api.http.forms import IN_FLIGHT
from api.http.problems import PATH
from api.http.routing import JSON, Routes, ThreadRoute, written
from api.http.schemas import RequestModel, ResponseModel
from api.inference.embed import MAX_INPUTS, MAX_TEXT, Format, Vector, vector_of
from api.inference.images import ERRORS
from api.inference_client.questions import EmbedImages, EmbedTexts
from core import errors
from core.errors import FieldInvalid
from core.inference.classify import Resolved
from core.inference.wire import Embedded
from core.principal import Role

router = Routes(tags=["inference"], route_class=ThreadRoute)

_Placed = Sequence[tuple[str, str]]  # inputs, each with the JSON pointer to it


class NewEmbeddings(RequestModel):
    """Texts and images to embed, as OpenAI's API takes texts."""

    model: str = Field(
        max_length=200,
        examples=["demo@production"],
        description="`name`, `name@alias`, `name:7`, `name@sha256:...`, or the `model` of a reply.",
    )
    input: str | Annotated[list[str], Field(max_length=MAX_INPUTS)] = Field(
        examples=[["a photo of a boot"]],
        description=f"A text or image, or 1 to {MAX_INPUTS:,} of them. An image is a URL as in "
        "`data:image/png;base64,...`; a text has up to "
        f"{MAX_TEXT:,} characters, of which the version reads as many as fit into its context.",
    )
    encoding_format: Format = "float"
    dimensions: int | None = Field(
        None, ge=1, description="Refused unless it is the width of the version's vectors."
    )
    user: str | None = Field(None, max_length=500, description="Ignored.")

    @field_validator("input", mode="before")
    @classmethod
    def _no_tokens(cls, value: object) -> object:
        found = value if isinstance(value, list) else [value]
        if not found or len(found) > MAX_INPUTS:
            raise FieldInvalid(f"Send 1 to {MAX_INPUTS:,} texts or images.", pointer="/input")
        if any(isinstance(one, int | list) for one in found):
            raise FieldInvalid(
                "Arrays of tokens are not accepted: send texts, which the version's own tokenizer "
                "reads, or images as data URLs.",
                pointer="/input",
            )
        return value

    @property
    def inputs(self) -> list[tuple[str, str]]:
        """The inputs, each with the JSON pointer to it."""
        if isinstance(self.input, str):
            return [("/input", self.input)]
        return [(f"/input/{place}", one) for place, one in enumerate(self.input)]


class Embedding(ResponseModel):
    """The L2-normalised vector of an input."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(examples=[0])
    embedding: Vector = Field(examples=[[0.6, -0.8]])


class Usage(ResponseModel):
    """The tokens that the version read of the texts, start and end included; images have none."""

    prompt_tokens: int = Field(examples=[8])
    total_tokens: int = Field(examples=[8], description="The same.")


class EmbeddingList(ResponseModel):
    """The vectors in the order of the inputs, and the version that computed them."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str = Field(
        examples=["demo:7@sha256:9f86d081884c7d65..."],
        description="Name, version and digest: a reference to this version for later requests.",
    )
    usage: Usage


@router.post(PATH, Role.VIEWER, *ERRORS, response_model=EmbeddingList)
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
    most = services.platform.settings.max_parts
    if len(images) > most:
        raise errors.FieldInvalid(f"Send at most {most:,} images.", pointer="/input")
    of_images = await _embed_images(services, resolved, images)
    of_texts = await services.inference.embed(
        EmbedTexts(digest=resolved.version.digest), [text.encode() for _, text in texts]
    )
    pointers = [pointer for pointer, _ in [*images, *texts]]
    vectors = dict(zip(pointers, [*of_images, *of_texts], strict=True))
    found = [vectors[pointer] for pointer, _ in asked.inputs]
    width = len(found[0].vector) // 4
    if asked.dimensions not in {None, width}:
        raise errors.FieldInvalid(
            f"The vectors of this version have {width} dimensions: send {width}, or leave "
            "`dimensions` out.",
            pointer="/dimensions",
        )
    return await written(width * len(found), _show, resolved, asked, found)


def _require_texts(texts: _Placed) -> None:
    for pointer, text in texts:
        if not 1 <= len(text) <= MAX_TEXT:
            raise errors.FieldInvalid(
                f"A text must have 1 to {MAX_TEXT:,} characters.", pointer=pointer
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
        part = (services.decoding.run(decode, *one) for one in images[first : first + IN_FLIGHT])
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
