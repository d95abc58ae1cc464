"""Render pages from templates, with what every template knows, and their static files."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from importlib.resources import files
from math import floor, log10
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import Depends, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from api.dependencies import Services, WiredServices
from api.http.problems import note_code, status_of
from api.http.routing import FIRST_STEPS, JSON, PAGES, STATIC
from api.pages.forms import form_token
from core.errors import PerennialError
from core.first_steps.first_steps import MODEL, ORDER, TITLES, read_next
from core.platform import Platform
from core.principal import Role
from core.values import BIDI_CONTROLS, sha256

# Nothing inline and nothing from elsewhere; blob: shows an image before it is sent.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

STEPS_COOKIE = "perennial_first_steps"  # of who wants no bar that leads back to them

TOLD_COOKIE = "perennial_told"  # what has been done, for the next page to show

HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}


def page(
    request: Request,
    template: str,
    *,
    status: int | None = None,
    refusal: PerennialError | None = None,
    **context: Any,
) -> HTMLResponse:
    """Return a page, or a part of one, from its template; by default with a refusal's status."""
    if refusal is not None:
        note_code(request, refusal.code)
    if status is None:
        status = status_of(type(refusal)) if refusal else 200
    principal = request.scope["state"].get("principal")
    text = render(
        f"pages/{template}",
        principal=principal,
        may={role.value: principal is not None and principal.may(role) for role in Role},
        all_models=principal is not None and principal.models is None,
        token=form_token(request),
        path=request.url.path,
        refusal=refusal,
        **context,
    )
    return HTMLResponse(text, status, headers=HEADERS)


@dataclass(frozen=True, kw_only=True)
class _NextStep:
    """The bar that leads to the first steps."""

    anchor: str  # on their page
    number: int = 0  # 0: all are done
    title: str


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A request for a page, and the services that answer it."""

    request: Request
    services: Services

    @property
    def platform(self) -> Platform:
        """The platform, whose transactions are the caller's."""
        return self.services.platform

    def page(self, template: str, **context: Any) -> HTMLResponse:
        """Return a page, which also knows what time it is and how first steps go on: see `page`."""
        told = self._told()
        known = {"now": self.platform.clock(), "next_step": self._next_step(), "told_here": told}
        shown = page(self.request, template, **{**known, **context})
        if told:
            shown.delete_cookie(TOLD_COOKIE, path=PAGES)
        return shown

    def _told(self) -> str:
        """Return the sentence that `tell_next` left for this page; parts of pages have none."""
        part = "hx-request" in self.request.headers
        return "" if part else unquote(self.request.cookies.get(TOLD_COOKIE, ""))

    def _next_step(self) -> _NextStep | None:
        """Return the step to go on with, for who may take it.

        One that no row tells of is named with the one after it. When all are done, the page of
        their model leads to what comes then.
        """
        who, path = self.request.scope["state"].get("principal"), self.request.url.path
        part = "hx-request" in self.request.headers or path.startswith(FIRST_STEPS)
        hidden = part or STEPS_COOKIE in self.request.cookies
        if hidden or who is None or who.models is not None or not who.may(Role.CONTRIBUTOR):
            return None
        steps = read_next(self.platform)
        if steps:
            first, *rest = (TITLES[step] for step in steps)
            title = ", then ".join([first, *(one[0].lower() + one[1:] for one in rest)])
            return _NextStep(anchor=steps[0].value, number=ORDER.index(steps[0]) + 1, title=title)
        if steps is None or path != f"{PAGES}/models/{MODEL}":
            return None
        return _NextStep(anchor="then", title="First steps done")


async def _asked(request: Request, services: WiredServices) -> _Asked:
    return _Asked(request=request, services=services)


PageRequest = Annotated[_Asked, Depends(_asked)]


def tell_next(asked: _Asked, response: Response, sentence: str) -> Response:
    """Return the response, with a sentence that the next page shows once."""
    if sentence:
        secure = asked.request.url.scheme == "https"
        response.set_cookie(
            TOLD_COOKIE,
            quote(sentence),
            max_age=60,
            path=PAGES,
            secure=secure,
            httponly=True,
            samesite="strict",
        )
    return response


def takes_json(request: Request) -> bool:
    """Return whether a script asks, which reads JSON and not HTML."""
    return request.headers.get("accept") == JSON


def render(template: str, **context: Any) -> str:
    """Return what a template makes of its context."""
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
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
        with_code=_with_code,
    )
    found.globals.update(static=url_of, ui=PAGES, time=_time)
    return found


def _time(then: Any, now: Any) -> Markup:
    """Return a time as its age, with the time itself in UTC for who points at it."""
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        then.isoformat(), clock(then), age(then, now)
    )


def _with_code(text: str) -> Markup:
    """Return a description in which what stands in backticks is shown as code."""
    pieces = enumerate(text.split("`"))
    return Markup().join(
        Markup("<code>{}</code>").format(piece) if index % 2 else escape(piece)
        for index, piece in pieces
    )


def policy_of(style: str) -> str:
    """Return a content security policy that allows one style sheet only."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


# Formats of numbers.


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


# Times as people tell them.

_DAY = 86_400  # seconds
_UNITS = ((365 * _DAY, "year"), (30 * _DAY, "month"), (_DAY, "day"), (3600, "hour"), (60, "minute"))


def age(then: datetime, now: datetime) -> str:
    """Return how long ago a time was: "just now", "5 minutes ago", "3 days ago"."""
    seconds = (now - then).total_seconds()
    for size, unit in _UNITS:
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


# Isolation of right-to-left text within left-to-right text.

_WITHOUT_CONTROLS = dict.fromkeys(map(ord, BIDI_CONTROLS))
_FIRST_STRONG_ISOLATE, _POP = "\u2068", "\u2069"


def isolate(text: str) -> str:
    """Return the text so that it cannot reorder the text around it, in markup or plain text.

    Bidirectional controls are removed: uploads with them are refused, but not all text is uploaded.
    """
    if text.isascii():
        return text
    return f"{_FIRST_STRONG_ISOLATE}{text.translate(_WITHOUT_CONTROLS)}{_POP}"


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
    packed: bytes  # by gzip
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
    style = render("pages/app.css")
    return {name: _asset(name, data) for name, data in {**found, "app.css": style.encode()}.items()}


def _asset(name: str, data: bytes) -> Asset:
    stem, _, ending = name.rpartition(".")
    hashed = f"{stem}.{sha256(data)[:HASH]}.{ending}"
    packed = gzip.compress(data, mtime=0)
    return Asset(name=hashed, data=data, packed=packed, media_type=TYPES[ending])
