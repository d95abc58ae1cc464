"""Forms of pages, each with a token that only a page of the same session has, and filters."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from secrets import token_urlsafe
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

from fastapi import Depends, Query, Request
from pydantic import BeforeValidator, Field

from api.http.json_bodies import require_storable
from core import errors
from core.values import canonical_json, clean_reason, sha256

TOKEN = "token"  # noqa: S105 - the name of the field
FORM_TYPE = "application/x-www-form-urlencoded"
MAX_BYTES = 64 * 1024
MAX_FIELDS = 50
LONGEST_REASON = 500  # characters
MOST_NAMES = 50  # as the API takes

E = TypeVar("E", bound=StrEnum)

_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?")
_DIGITS = re.compile(r"[0-9]{1,9}")


def form_token(request: Request) -> str:
    """Return a fresh token for the forms of a page; "" without a session.

    No two are equal, so that the compressed page tells nothing about the session.
    """
    session = request.scope["state"].get("session")
    return _token(token_urlsafe(9), session) if session else ""


def require_token(request: Request, token: str) -> None:
    """Raise Forbidden unless a form has a token of the request's session."""
    session, salt = request.scope["state"]["session"], token.partition(".")[0]
    if not hmac.compare_digest(token.encode(), _token(salt, session).encode()):
        raise errors.Forbidden("This form belongs to another session: reload its page.")


def _token(salt: str, session: str) -> str:
    digest = hmac.new(session.encode(), salt.encode(), hashlib.sha256).hexdigest()
    return f"{salt}.{digest}"


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form that a page of the session sent, without white space around.

    Raises UnsupportedMediaType, BodyTooLarge, FieldInvalid or Forbidden.
    """
    fields = await read_open_form(request)
    require_token(request, fields.get(TOKEN, ""))
    return fields


SentForm = Annotated[Mapping[str, str], Depends(read_form)]


async def read_open_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form for which there is no session yet."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != FORM_TYPE:
        raise errors.UnsupportedMediaType(f"Send the form with Content-Type: {FORM_TYPE}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise errors.BodyTooLarge(
                f"A form may have at most {MAX_BYTES:,} bytes.", cap=MAX_BYTES
            )
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as error:
        raise errors.FieldInvalid("The form is not UTF-8, or has too many fields.") from error
    fields = {name: value.strip() for name, value in pairs}
    if len(fields) < len(pairs):
        raise errors.FieldInvalid("The form has a field twice.")
    require_storable(fields)
    return fields


def whole_field(fields: Mapping[str, str], name: str) -> int:
    """Return a whole number of a form. Raises FieldInvalid."""
    text = fields.get(name, "")
    if not _DIGITS.fullmatch(text):
        raise errors.FieldInvalid(f"{name} must be a whole number.", pointer=f"/{name}")
    return int(text)


def percent_field(fields: Mapping[str, str], name: str) -> float:
    """Return a number of percent in a form as a fraction of 1. Raises FieldInvalid."""
    text = fields.get(name, "")
    if not _PERCENT.fullmatch(text):
        raise errors.FieldInvalid(f"{name} must be a percentage.", pointer=f"/{name}")
    return float(Decimal(text) / 100)


def reason_field(fields: Mapping[str, str]) -> str:
    """Return the reason in a form. Raises FieldInvalid if there is none, or a long one."""
    reason = optional_reason_field(fields)
    if not reason:
        raise errors.FieldInvalid("Enter a reason: it is kept in the history.", pointer="/reason")
    return reason


def optional_reason_field(fields: Mapping[str, str]) -> str:
    """Return the reason in a form, "" if there is none. Raises FieldInvalid for a long one."""
    return clean_reason(short_field(fields, "reason", LONGEST_REASON))


def short_field(fields: Mapping[str, str], name: str, longest: int) -> str:
    """Return a text of a form, "" if there is none. Raises FieldInvalid for a long one."""
    text = fields.get(name, "")
    if len(text) > longest:
        raise errors.FieldInvalid(
            f"A {name} may have at most {longest} characters.", pointer=f"/{name}"
        )
    return text


def choice_field(fields: Mapping[str, str], name: str, kind: type[E]) -> E:
    """Return the choice of a form. Raises FieldInvalid."""
    try:
        return kind(fields.get(name, ""))
    except ValueError as error:
        raise errors.FieldInvalid(
            f"{name} must be one of: {', '.join(kind)}.", pointer=f"/{name}"
        ) from error


def fresh_key() -> str:
    """Return a key for a form, by which it orders one job even if it is sent twice."""
    return token_urlsafe(12)


def sent_key(fields: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """Return the Idempotency-Key of a form, and what was sent under it."""
    sent = {name: value for name, value in fields.items() if name != TOKEN}
    return sha256(canonical_json(sent)), sent


def names_field(fields: Mapping[str, str], name: str) -> list[str]:
    """Return the names in a field, which are separated by commas, spaces or new lines.

    Raises FieldInvalid for too many.
    """
    found = fields.get(name, "").replace(",", " ").split()
    if len(found) > MOST_NAMES:
        raise errors.FieldInvalid(f"Give at most {MOST_NAMES} names.", pointer=f"/{name}")
    return found


# Fields of filters: a form sends an empty one where nothing is chosen.

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
