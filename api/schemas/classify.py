"""Classification."""

from pydantic import Field

from api.schemas.common import ResponseModel
from api.schemas.datasets import ReceiptError


class Prediction(ResponseModel):
    """A class and how probable it is among the classes asked for."""

    name: str = Field(alias="class", examples=["ankle boot"])
    probability: float = Field(examples=[0.91])


class ImageAnswer(ResponseModel):
    """What one image is, or why that cannot be said."""

    file: str = Field(examples=["boot-1.jpg"])
    predictions: list[Prediction]
    error: ReceiptError | None = None


class ClassifyView(ResponseModel):
    """Answers in the order the images were sent, and the version that gave them."""

    model: str
    version: int
    digest: str
    data: list[ImageAnswer]
