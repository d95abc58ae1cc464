"""Schemas of embeddings."""

from base64 import b64encode
from struct import unpack
from typing import Annotated, Literal

from pydantic import Field, field_validator

from api.schemas.common import RequestModel, ResponseModel
from api.schemas.datasets.datasets import ReceiptError
from core.errors import FieldInvalid

MAX_INPUTS = 2048  # as many as OpenAI's API takes
EXPECT_DIGEST = "Refuse if the reference resolves to another digest."
MAX_TEXT = 2000  # characters; a tower reads the first 77 tokens or so

EncodingFormat = Literal["float", "base64"]
Vector = list[float] | str
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Format = Annotated[
    EncodingFormat,
    Field(description="`base64` is that of the vector's little-endian float32 values."),
]


def vector_of(row: bytes, encoding_format: EncodingFormat) -> Vector:
    """Return a vector of little-endian float32 values in the asked form."""
    if encoding_format == "base64":
        return b64encode(row).decode()
    return list(unpack(f"<{len(row) // 4}f", row))


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


class NewEmbeddings(RequestModel):
    """Texts and images to embed, as OpenAI's API takes texts."""

    model: str = Field(
        max_length=200,
        examples=["demo@production"],
        description="`name`, `name@alias`, `name:7`, `name@sha256:...`, or the `model` of a reply.",
    )
    input: str | list[str] = Field(
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
