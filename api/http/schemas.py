"""Base classes and types that all schemas share."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Self, TypeVar

from fastapi import Path, Query
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
)
from pydantic.config import JsonDict

from core.errors import FieldInvalid
from core.values import clean_reason

_DIGITS = re.compile(r"[0-9]{1,10}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def whole_number(value: object) -> object:
    """Refuse a number in a URL that is not all digits: pydantic also takes 5.0, +5 and 1_0."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("a whole number must consist of digits only")
    return value


def _rfc_3339(value: object) -> object:
    """Refuse a time that RFC 3339 does not allow: pydantic also takes seconds and dates alone."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError(
            "a time must be as in 2026-01-31T12:00:00Z, with its zone; in a URL, write + as %2B"
        )
    return value


def _in_utc(value: datetime) -> datetime:
    """Return a time in UTC, if it is in a year that has one."""
    if not 1970 <= value.year < 9000:
        raise ValueError("the year must be from 1970 to 8999")
    return value.astimezone(UTC)


# No version number exceeds this bound, and SQLite and PostgreSQL can store it.
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
VersionNumber = Annotated[int, Path(ge=1, le=2**31 - 1), BeforeValidator(whole_number)]

Limit = Annotated[
    int,
    Query(ge=1, le=200, description="Maximum number of items to return."),
    BeforeValidator(whole_number),
]

Time = Annotated[datetime, Strict(False), BeforeValidator(_rfc_3339), AfterValidator(_in_utc)]

_NEXT = "The `next` of the previous page."

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=500), AfterValidator(clean_reason)
]
ReasonQuery = Annotated[
    str,
    Query(max_length=500, description="Why; kept in the audit log."),
    AfterValidator(clean_reason),
]

After = Annotated[str | None, Query(max_length=100, description=_NEXT)]

# Rules that the service checks in words of its own; the document tells clients of them.
NAME_RULE: JsonDict = {"pattern": "^[a-z0-9][a-z0-9._-]{0,63}$"}
NUMBER_RULE: JsonDict = {"pattern": "^[0-9]{1,9}$"}

AfterNumber = Annotated[str | None, Query(description=_NEXT, json_schema_extra=NUMBER_RULE)]
Name = Annotated[str, Field(json_schema_extra=NAME_RULE)]

Reference = Annotated[str, Field(max_length=100)]  # a name or an id
Prompt = Annotated[str, Field(max_length=500, json_schema_extra={"maxLength": 200})]

ClassName = Annotated[
    str, Field(max_length=500, json_schema_extra={"minLength": 1, "maxLength": 100})
]

# JSON has no enums, so a strict model still has to read their values from strings.
BY_TEXT = Strict(False)


class RequestModel(BaseModel):
    """Base of request bodies; unknown fields are refused, and no value is converted.

    Texts that cannot be stored are refused by `api.http.json_bodies`, which parses every body.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ResponseModel(BaseModel):
    """Base of response bodies and their parts, made from the values that they show.

    A field is the value's attribute of the same name, or the one that `validation_alias` names.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, from_attributes=True)

    @classmethod
    def of(cls, value: Any, **given: Any) -> Self:
        """Return the view of a value; `given` are fields in place of attributes."""
        return cls.model_validate(_Attributes(value, given) if given else value)


class _Attributes:
    """The attributes of a value, some of them replaced."""

    def __init__(self, value: object, given: Mapping[str, object]) -> None:
        self._value = value
        self._given = given

    def __getattr__(self, name: str) -> object:
        return self._given[name] if name in self._given else getattr(self._value, name)


View = TypeVar("View")
Row = TypeVar("Row")


class Page(ResponseModel, Generic[View]):
    """A page of a list; while `has_more`, `next` is the `after` of the next page."""

    data: list[View]
    has_more: bool = False
    next: str | None = None


def page_of(
    rows: Sequence[Row], limit: int, show: Callable[[Row], View], key: Callable[[Row], object]
) -> Page[View]:
    """Return the page of the first `limit` rows, each shown by `show`.

    The caller fetches one row more than `limit`, if there is one: then the page says that there
    is more, and `key` of its last row is the `after` of the next page.
    """
    kept = rows[:limit]
    more = len(rows) > limit
    return Page(
        data=[show(row) for row in kept],
        has_more=more,
        next=str(key(kept[-1])) if more else None,
    )


def number_after(after: str | None) -> int:
    """Return the number after which a page starts, 0 without one. Raises FieldInvalid."""
    if after is None:
        return 0
    if not after.isascii() or not after.isdigit() or len(after) > 9:
        raise FieldInvalid("after must be the `next` of an earlier page.", pointer="#query/after")
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
    """One thing that is wrong and, as a JSON pointer, where."""

    code: str
    detail: str
    pointer: str | None = None
