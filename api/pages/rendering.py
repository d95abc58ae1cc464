"""Render pages."""

import base64
import csv
import hashlib
import hmac
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache, partial
from importlib.resources import files
from math import floor, log10
from secrets import token_urlsafe
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Query, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BeforeValidator, Field
from starlette.responses import HTMLResponse

from api.http.bodies import require_storable
from api.http.problems import status_of
from api.http.routing import JSON, PAGES, STATIC
from core.errors import BodyTooLarge, FieldInvalid, Forbidden, PerennialError, UnsupportedMediaType
from core.principal import Role
from core.values import BIDI_CONTROLS, sha256

# Isolation of right-to-left text within left-to-right text.


_WITHOUT_CONTROLS = dict.fromkeys(map(ord, BIDI_CONTROLS))

_FIRST_STRONG_ISOLATE, _POP = "\u2068", "\u2069"


def isolate(text: str) -> str:
    """Return the text so that it cannot reorder the text around it, in markup or plain text.

    Uploads with bidirectional controls are refused today, but text stored by earlier releases may
    contain them: they are removed.
    """
    if text.isascii():
        return text
    return f"{_FIRST_STRONG_ISOLATE}{text.translate(_WITHOUT_CONTROLS)}{_POP}"


# Times as people tell them.


_UNITS = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3600, "hour"))


def age(then: datetime, now: datetime) -> str:
    """Return how long ago a time was: "just now", "5 minutes ago", "3 days ago"."""
    seconds = (now - then).total_seconds()
    if seconds < 60:
        return "just now"
    for size, unit in (*_UNITS, (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def duration(seconds: float) -> str:
    """Return a duration: "0.4 s", "38 s", "4 min 5 s", "2 h 10 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def clock(then: datetime) -> str:
    """Return a time in UTC to the minute: "2026-11-26 13:48"."""
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M}"


# Templates that escape every text, and a policy that allows one style sheet.


def environment(**filters: Callable[..., Any]) -> Environment:
    """Return an environment for the templates of this package, with more filters."""
    found = Environment(
        loader=PackageLoader("api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(filters)
    return found


def policy_of(style: str) -> str:
    """Return a content security policy that allows one style sheet only."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


# Static files, under names that change with their bytes.


TYPES: Mapping[str, str] = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

HASH = 16  # characters of a file's SHA-256 in its name


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A static file."""

    name: str  # with its hash
    data: bytes
    media_type: str


def url_of(name: str) -> str:
    """Return the URL of a file, such as app.css."""
    return STATIC + _by_name()[name].name


def find_asset(name: str) -> Asset | None:
    """Return the file that has this name, hash included."""
    return next((asset for asset in _by_name().values() if asset.name == name), None)


@cache
def _by_name() -> Mapping[str, Asset]:
    folder = files("api.pages") / "static"
    found = {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.name.rpartition(".")[2] in TYPES
    }
    style = environment().get_template("pages/app.css").render()
    return {name: _asset(name, data) for name, data in {**found, "app.css": style.encode()}.items()}


def _asset(name: str, data: bytes) -> Asset:
    stem, _, ending = name.rpartition(".")
    hashed = f"{stem}.{sha256(data)[:HASH]}.{ending}"
    return Asset(name=hashed, data=data, media_type=TYPES[ending])


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


# Forms of pages, each with a token that only a page of the same session has.


TOKEN = "token"  # noqa: S105 - the name of the field

FORM_TYPE = "application/x-www-form-urlencoded"

MAX_BYTES = 64 * 1024

MAX_FIELDS = 50

LONGEST_REASON = 500  # characters

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
        raise Forbidden("This form belongs to another session: reload its page.")


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form that a page of the session sent, without white space around.

    Raises UnsupportedMediaType, BodyTooLarge, FieldInvalid or Forbidden.
    """
    fields = await read_open_form(request)
    require_token(request, fields.get(TOKEN, ""))
    return fields


async def read_open_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form for which there is no session yet."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != FORM_TYPE:
        raise UnsupportedMediaType(f"Send the form with Content-Type: {FORM_TYPE}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise BodyTooLarge(f"A form may have at most {MAX_BYTES:,} bytes.", cap=MAX_BYTES)
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as error:
        raise FieldInvalid("The form is not UTF-8, or has too many fields.") from error
    fields = {name: value.strip() for name, value in pairs}
    if len(fields) < len(pairs):
        raise FieldInvalid("The form has a field twice.")
    require_storable(fields)
    return fields


def whole_field(fields: Mapping[str, str], name: str) -> int:
    """Return a whole number of a form. Raises FieldInvalid."""
    text = fields.get(name, "")
    if not _DIGITS.fullmatch(text):
        raise FieldInvalid(f"{name} must be a whole number.", pointer=f"/{name}")
    return int(text)


def reason_field(fields: Mapping[str, str]) -> str:
    """Return the reason in a form. Raises FieldInvalid if there is none, or a long one."""
    reason = optional_reason_field(fields)
    if not reason:
        raise FieldInvalid("Enter a reason: it is kept in the history.", pointer="/reason")
    return reason


def optional_reason_field(fields: Mapping[str, str]) -> str:
    """Return the reason in a form, "" if there is none. Raises FieldInvalid for a long one."""
    return short_field(fields, "reason", LONGEST_REASON)


def short_field(fields: Mapping[str, str], name: str, longest: int) -> str:
    """Return a text of a form, "" if there is none. Raises FieldInvalid for a long one."""
    text = fields.get(name, "")
    if len(text) > longest:
        raise FieldInvalid(f"A {name} may have at most {longest} characters.", pointer=f"/{name}")
    return text


def percent_field(fields: Mapping[str, str], name: str) -> float:
    """Return a number of percent in a form as a fraction of 1. Raises FieldInvalid."""
    text = fields.get(name, "")
    if not _PERCENT.fullmatch(text):
        raise FieldInvalid(f"{name} must be a percentage.", pointer=f"/{name}")
    return float(Decimal(text) / 100)


def names_field(fields: Mapping[str, str], name: str) -> list[str]:
    """Return the names in a field, which are separated by commas, spaces or new lines."""
    return fields.get(name, "").replace(",", " ").split()


def _token(salt: str, session: str) -> str:
    digest = hmac.new(session.encode(), salt.encode(), hashlib.sha256).hexdigest()
    return f"{salt}.{digest}"


# Formats of numbers on pages.


def percent(fraction: float | None) -> str:
    """Format a fraction in percent: 0.6213 as "62.1", None as a dash."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def small_percent(fraction: float) -> str:
    """Format a small fraction in percent with two digits that count: 0.000495 as "0.05"."""
    return f"{100 * fraction:.2g}"


def points(fraction: float | None) -> str:
    """Format a difference in percentage points: "+3.1", "−0.4", "0.0"; None as a dash.

    Negative numbers have a minus sign (U+2212), not a hyphen.
    """
    if fraction is None:
        return "–"
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", "−")


def whole(number: int) -> str:
    """Format an integer with thousands separators: 1840 as "1,840"."""
    return f"{number:,}"


def short(digest: str) -> str:
    """Return the first twelve characters of a digest."""
    return digest[:12]


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Return about `wanted` round numbers from `low` to `high`, for the ticks of an axis."""
    raw = (high - low) / wanted
    power = 10.0 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first, last = floor(low / step), floor(high / step)
    return [index * step for index in range(first, last + 1) if low <= index * step <= high]


# Answers with pages: their templates, what every template knows, and their headers.


# Nothing inline and nothing from elsewhere; blob: shows an image before it is sent.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}


def takes_json(request: Request) -> bool:
    """Return whether a script asks, which reads JSON and not HTML."""
    return request.headers.get("accept") == JSON


def page(
    request: Request,
    template: str,
    *,
    status: int | None = None,
    refusal: PerennialError | None = None,
    **context: Any,
) -> HTMLResponse:
    """Return a page, or a part of one, from its template; by default with a refusal's status."""
    if status is None:
        status = status_of(type(refusal)) if refusal else 200
    principal = request.scope["state"].get("principal")
    text = (
        _environment()
        .get_template(f"pages/{template}")
        .render(
            principal=principal,
            may={role.value: principal is not None and principal.may(role) for role in Role},
            token=form_token(request),
            path=request.url.path,
            refusal=refusal,
            **context,
        )
    )
    return HTMLResponse(text, status, headers=HEADERS)


@cache
def _environment() -> Environment:
    found = environment(
        percent=percent,
        points=points,
        small_percent=small_percent,
        whole=whole,
        short=short,
        age=age,
        clock=clock,
        duration=duration,
        isolate=isolate,
        pretty=partial(json.dumps, indent=2, ensure_ascii=False),
    )
    found.globals.update(static=url_of, ui=PAGES, time=_time)
    return found


def _time(then: Any, now: Any) -> Markup:
    """Return a time as its age, with the time itself in UTC for who points at it."""
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        then.isoformat(), clock(then), age(then, now)
    )


# Tables as CSV (RFC 4180) that no spreadsheet runs as formulas.


CSV = "text/csv"

CSV_CONTENT: Mapping[str, Any] = {CSV: {"schema": {"type": "string"}}}

# What begins a formula, also in its full-width form, and what spreadsheets drop before one.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return a table as CSV, with a header line; columns that a row lacks are empty.

    A text that a spreadsheet could run as a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value
