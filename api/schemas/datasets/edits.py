"""Schemas of edits of a dataset's classes."""

from typing import Annotated

from pydantic import Field

from api.schemas.common import ClassName, RequestModel, ResponseModel
from api.schemas.datasets.images import DIGEST

_SHOWN = "1bd6b4e4b2d3a5c7f90812a4c6e8d0b2f4a6c8e0d2b4f6a8c0e2d4b6f8a0c2e4"


class ClassChange(RequestModel):
    """A new name of a class."""

    name: ClassName = Field(examples=["ankle boot"])
    merge: bool = Field(
        False, description="Whether its images may join those of a class that has the name."
    )


class ClassView(ResponseModel):
    """A class of a dataset."""

    name: str = Field(alias="class", examples=["ankle boot"])
    images: int = Field(examples=[250])


class Moves(RequestModel):
    """Images to move to a class."""

    name: ClassName = Field(alias="class", examples=["ankle boot"])
    images: list[Annotated[str, Field(pattern=DIGEST)]] = Field(
        min_length=1, max_length=1000, examples=[[_SHOWN]], description="`pixels` of the images."
    )


class MovedView(ResponseModel):
    """The outcome of moving images."""

    name: str = Field(alias="class", examples=["ankle boot"])
    moved: int = Field(examples=[3], description="Images that were in another class before.")
