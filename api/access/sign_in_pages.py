"""Pages to sign in with an API key or the printed link, and out again."""

from contextlib import suppress
from datetime import datetime
from typing import Annotated

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal, Services
from api.http.authentication import SESSION_COOKIE
from api.http.problems import WAIT, request_id, status_of
from api.http.routing import PAGES, SIGN_IN, Routes, page_path
from api.pages.browsing import PageRoute, UnsentForm, unsent_in
from api.pages.forms import SentForm, read_open_form
from api.pages.rendering import PageRequest, page
from core.access import authenticate as sessions
from core.errors import RateExceeded, Unauthorised
from core.principal import Role
from core.values import Digest, sha256

router = Routes(route_class=PageRoute, include_in_schema=False)

USED = (
    "This link has been used or has expired: sign in with a key, or start the service again for "
    "another link."
)

UNKNOWN = "This key lets nobody in: it is unknown, revoked or has expired."

Next = Annotated[str, Query(max_length=2000)]
Link = Annotated[str, Query(max_length=200)]


@router.get("/")
async def lead_to_pages() -> Response:
    """Lead a browser to the pages."""
    return RedirectResponse(PAGES, 303)


@router.get(SIGN_IN)
async def show_sign_in(asked: PageRequest, next: Next = PAGES, link: Link = "") -> Response:  # noqa: A002
    """Show the form to sign in with a key or, with a good link, by one button.

    The link is used up by the button: whatever looks at the page before the person cannot use it.
    """
    issued = asked.services.sign_in_link
    good = issued is not None and issued.is_good(link)
    why = USED if link and not good else None
    kept = link if good else ""
    return asked.page("sign_in.html", back=page_path(next), link=kept, why=why)


@router.post(SIGN_IN)
async def sign_in(asked: PageRequest) -> Response:
    """Open a session, and go on to where the browser was led to sign in.

    A secret that is sent too often is refused before it is looked up.
    """
    fields = await read_open_form(asked.request)
    back, secret = page_path(fields.get("next", PAGES)), fields.get("key", "")
    unsent = unsent_in(fields)
    digest: Digest | None = sha256(secret.encode())
    if link := fields.get("link", ""):
        issued = asked.services.sign_in_link
        digest = issued.take(link) if issued else None
    try:
        session, expires_at = await _open_session(asked.services, asked.request, digest)
    except (Unauthorised, RateExceeded) as refusal:
        status, why = status_of(type(refusal)), refusal.message
        shown = asked.page("sign_in.html", status=status, back=back, unsent=unsent, why=why)
        if isinstance(refusal, RateExceeded):
            shown.headers["Retry-After"] = str(refusal.facts[WAIT])
        return shown
    response = _go_on(asked.request, back, unsent, session)
    response.set_cookie(
        SESSION_COOKIE,
        session,
        expires=expires_at,
        path=PAGES,
        secure=asked.request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


async def _open_session(
    services: Services, request: Request, digest: Digest | None
) -> tuple[str, datetime]:
    """Return a session and when it expires. Raises Unauthorised or RateExceeded."""
    if digest is not None:
        services.sign_ins.count(digest)
        with suppress(Unauthorised):
            return await run_in_threadpool(
                sessions.sign_in, services.platform, digest, request_id=request_id(request)
            )
    services.sign_ins.note_failure(request.client.host if request.client else "unknown")
    raise Unauthorised(USED if digest is None else UNKNOWN)


def _go_on(request: Request, back: str, unsent: UnsentForm | None, session: str) -> Response:
    """Return the page that the browser came from, or one with what was typed there."""
    if unsent is None:
        return RedirectResponse(back, 303)
    request.scope["state"]["session"] = session  # of which the form gets its token
    return page(request, "unsent_form.html", unsent=unsent, back=back)


@router.post(f"{PAGES}/sign-out", Role.VIEWER)
def sign_out(asked: PageRequest, principal: CurrentPrincipal, _form: SentForm) -> Response:
    """End the session."""
    session = asked.request.scope["state"]["session"]
    sessions.sign_out(asked.platform, principal, session)
    response = RedirectResponse(SIGN_IN, 303)
    response.delete_cookie(SESSION_COOKIE, path=PAGES)
    return response
