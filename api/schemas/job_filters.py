"""Query parameters that choose jobs."""

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, BeforeValidator

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _rfc_3339(value: object) -> object:
    """Refuse a time that RFC 3339 does not allow; pydantic also takes seconds and dates alone."""
    if isinstance(value, str) and not _TIME.fullmatch(value):
        raise ValueError("a time must be like 2026-11-26T09:30:00Z; in a URL, write + as %2B")
    return value


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time must lie in the years 1 to 9999, in UTC") from error


_Time = Annotated[datetime, BeforeValidator(_rfc_3339), AfterValidator(_in_utc)]
CreatedSince = Annotated[
    _Time | None,
    Query(description="Jobs created at this time or later.", examples=["2026-11-26T09:30:00Z"]),
]
CreatedUntil = Annotated[_Time | None, Query(description="Jobs created before this time.")]
MetadataFilter = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=600,
        examples=["team:shoes"],
        description="`KEY:VALUE`, or `KEY` for any value. The key ends at the first colon.",
    ),
]


def key_and_value(metadata: str) -> tuple[str, str | None]:
    """Return the key of a metadata filter, and its value if it has one."""
    key, colon, value = metadata.partition(":")
    return key, value if colon else None
