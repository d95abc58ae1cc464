"""What all requests and replies have in common."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

from api.http.json_text import require_storable
from core.errors import FieldInvalid

_DIGITS = re.compile(r"[0-9]{1,10}")


def _digits(value: object) -> object:
    """A number of an address, which pydantic alone would also take as 5.0, +5 or 1_0."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("a whole number is written in digits alone")
    return value


# SQLite and PostgreSQL hold larger numbers than the largest that is ever given out.
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
VersionNumber = Annotated[int, Path(ge=1, le=2**31 - 1), BeforeValidator(_digits)]
Limit = Annotated[
    int, Query(ge=1, le=200, description="At most so many."), BeforeValidator(_digits)
]
After = Annotated[
    str | None, Query(max_length=100, description="The `next` of the page before this one.")
]


# JSON has no choices: where all else is strict, a choice is still read from its text.
BY_TEXT = Strict(False)


class RequestModel(BaseModel):
    """A request body, in which no value is turned into another type.

    A field it does not know is refused, and so is what cannot be stored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: object) -> object:
        require_storable(value)
        return value


class ResponseModel(BaseModel):
    """A reply, or a part of one."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)


View = TypeVar("View")
Row = TypeVar("Row")


class Page(ResponseModel, Generic[View]):
    """Some of many; ask again with `after` = `next` while `has_more`."""

    data: list[View]
    has_more: bool = False
    next: str | None = None


def page_of(
    rows: Sequence[Row], limit: int, show: Callable[[Row], View], key: Callable[[Row], object]
) -> Page[View]:
    """The page of at most `limit` rows, of which one more was fetched to see if there is more."""
    kept = rows[:limit]
    more = len(rows) > limit
    return Page(
        data=[show(row) for row in kept],
        has_more=more,
        next=str(key(kept[-1])) if more else None,
    )


def number_after(after: str | None) -> int:
    """The number that a page of numbered things goes on from. Raises FieldInvalid."""
    if after is None:
        return 0
    if not after.isascii() or not after.isdigit() or len(after) > 9:
        raise FieldInvalid("after is the `next` of an earlier page.", pointer="#query/after")
    return int(after)


class Problem(ResponseModel):
    """An RFC 9457 problem document."""

    type: str = Field(examples=["urn:perennial:problem:gate_failed"])
    code: str = Field(examples=["gate_failed"])
    title: str
    status: int = Field(examples=[409])
    detail: str
    errors: list["ProblemLine"]
    request_id: str = Field(examples=["req_5f0c8a1d2b3e4f5061728394"])
    retryable: bool
    facts: dict[str, Any] | None = None


class ProblemLine(ResponseModel):
    """One thing that is wrong, and by JSON pointer where."""

    code: str
    detail: str
    pointer: str | None = None
