"""Schemas of classification."""

from pydantic import Field

from api.schemas.common import ResponseModel
from api.schemas.datasets.datasets import ReceiptError


class Prediction(ResponseModel):
    """A class and its probability among the given classes."""

    name: str = Field(alias="class", examples=["ankle boot"])
    probability: float = Field(examples=[0.91])


class ImageAnswer(ResponseModel):
    """The predictions for an image, most probable first, or why it could not be classified."""

    file: str = Field(examples=["boot-1.jpg"])
    predictions: list[Prediction]
    error: ReceiptError | None = None


class ClassifyView(ResponseModel):
    """The results in the order the images were sent, and the version that classified them."""

    model: str
    version: int
    digest: str
    data: list[ImageAnswer]
