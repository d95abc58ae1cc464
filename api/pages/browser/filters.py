"""Fields of filters: a form sends an empty one where nothing is chosen."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import BeforeValidator, Field

T = TypeVar("T")

Chosen = Annotated[T | None, BeforeValidator(lambda value: value or None)]
Day = Annotated[date, Field(ge=date(1970, 1, 1), le=date(8999, 12, 30))]
Text = Annotated[str, Query(max_length=200)]


def start_of(day: date | None) -> datetime | None:
    """Return when a day begins, in UTC."""
    return None if day is None else datetime.combine(day, time(), UTC)


def end_of(day: date | None) -> datetime | None:
    """Return when a day has ended, in UTC."""
    return None if day is None else start_of(day + timedelta(days=1))
