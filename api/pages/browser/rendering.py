"""Answers with pages: their templates, what every template knows, and their headers."""

import json
from functools import cache, partial
from typing import Any

from fastapi import Request
from jinja2 import Environment
from markupsafe import Markup
from starlette.responses import HTMLResponse

from api.http.declared_route import JSON
from api.http.paths import PAGES
from api.http.problems import status_of
from api.pages import numbers
from api.pages.bidi import isolate
from api.pages.browser import ages
from api.pages.browser.assets import url_of
from api.pages.browser.forms import form_token
from api.pages.page import environment
from core.domain.access.roles import Role
from core.errors import PerennialError

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
        percent=numbers.percent,
        points=numbers.points,
        small_percent=numbers.small_percent,
        whole=numbers.whole,
        short=numbers.short,
        age=ages.age,
        clock=ages.clock,
        duration=ages.duration,
        isolate=isolate,
        pretty=partial(json.dumps, indent=2, ensure_ascii=False),
    )
    found.globals.update(static=url_of, ui=PAGES, time=_time)
    return found


def _time(then: Any, now: Any) -> Markup:
    """Return a time as its age, with the time itself in UTC for who points at it."""
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        then.isoformat(), ages.clock(then), ages.age(then, now)
    )
