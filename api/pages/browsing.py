"""Requests of browsers: forms of this origin, unsent forms, problems as pages, static files."""

import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from anyio import fail_after
from fastapi import Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from api.http.middleware import Layer
from api.http.problems import MEDIA_TYPE, unexpected
from api.http.routing import (
    PAGES,
    SIGN_IN,
    STATIC,
    Routes,
    ThreadRoute,
    is_guide,
    is_page,
    page_path,
)
from api.pages.forms import TOKEN, read_open_form
from api.pages.rendering import HEADERS, find_asset, page, takes_json
from core.errors import Forbidden, NotFound, PerennialError

SAFE = frozenset({"GET", "HEAD"})


class PageRoute(ThreadRoute):
    """Route that takes a form only from a page of this service."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handle = super().get_route_handler()

        async def handle_own(request: Request) -> Response:
            if request.method not in SAFE:
                require_same_origin(request)
            return await handle(request)

        return handle_own


def require_same_origin(request: Request) -> None:
    """Raise Forbidden if the browser says that a page of another origin sends the request.

    Browsers say so in Sec-Fetch-Site (Fetch Metadata) where the connection is confidential, and
    else in Origin.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None:
        origin = request.headers.get("origin")
        same = origin is None or origin.partition("://")[2] == request.headers.get("host")
    else:
        same = site in {"same-origin", "none"}
    if not same:
        raise Forbidden("This form was sent from another site's page.")


# Forms that came after their session had ended: kept on the page to sign in, sent after that.

PREFIX = "unsent-"  # of the fields, in the form to sign in
TO = "unsent_to"
SIGN_OUT = f"{PAGES}/sign-out"
MAX_FIELDS = 40  # which leaves room for the fields of the form to sign in
MAX_CHARACTERS = 16_000
ARRIVES_S = 10


@dataclass(frozen=True, kw_only=True)
class UnsentForm:
    """The text that a person typed into a form of a page, and the address that the form goes to."""

    to: str
    fields: Mapping[str, str]


async def read_unsent(request: Request) -> UnsentForm | None:
    """Return the form of a request that was refused for lack of a session.

    None if a page of another origin sends it, or if it has files or is too long to be kept.
    """
    try:
        require_same_origin(request)
        with fail_after(ARRIVES_S):
            return _kept(request.url.path, await read_open_form(request))
    except (PerennialError, TimeoutError):
        return None


def unsent_in(fields: Mapping[str, str]) -> UnsentForm | None:
    """Return the form that the form to sign in holds; None if it holds none."""
    found = {name[len(PREFIX) :]: text for name, text in fields.items() if name.startswith(PREFIX)}
    return _kept(fields.get(TO, ""), found)


def _kept(to: str, fields: Mapping[str, str]) -> UnsentForm | None:
    typed = {name: text for name, text in fields.items() if name != TOKEN}
    inside = to.startswith(f"{PAGES}/") and to.isprintable()
    long = len(typed) > MAX_FIELDS or sum(map(len, typed.values())) > MAX_CHARACTERS
    if not inside or to in {SIGN_IN, SIGN_OUT} or long:
        return None
    return UnsentForm(to=to, fields=typed)


# Problems as pages.


class ProblemPages(Layer):
    """Turns the problem documents of pages into HTML; without a session, leads to sign in.

    Scripts that ask for JSON get the documents as they are.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not (is_page(scope["path"]) or is_guide(scope["path"])):
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        body, began = bytearray(), False

        async def hold_problems(message: Message) -> None:
            nonlocal start, began
            if message["type"] == "http.response.start":
                began = True
                if Headers(raw=message["headers"]).get("content-type") == MEDIA_TYPE:
                    start = message  # held until its body has come
                    return
            if start is None:
                await send(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                request = Request(scope, receive)
                response = await _shown(request, start, json.loads(bytes(body) or b"null"))
                await response(scope, receive, send)

        try:
            await self.app(scope, receive, hold_problems)
        except Exception:
            if not began:
                await unexpected(Request(scope))(scope, receive, hold_problems)
            raise  # the log has it from the server


async def _shown(request: Request, start: Message, found: Any) -> Response:
    status, partial = start["status"], "hx-request" in request.headers
    if found is not None and takes_json(request):
        response: Response = JSONResponse(found, status, headers=HEADERS, media_type=MEDIA_TYPE)
        return _with_headers(response, start)
    if status == 401:
        return await _to_sign_in(request, partial=partial)
    if found is None:  # of a HEAD
        return Response(status_code=status, headers=HEADERS)
    template = "problem_part.html" if partial else "problem.html"
    return _with_headers(page(request, template, status=status, problem=found), start)


def _with_headers(response: Response, start: Message) -> Response:
    kept = MutableHeaders(raw=start["headers"])
    for name in ("allow", "retry-after", "connection"):
        if name in kept:
            response.headers[name] = kept[name]
    return response


async def _to_sign_in(request: Request, *, partial: bool) -> Response:
    """Lead to the form to sign in and from there back, with what was typed into a form."""
    came_from = str(request.url)
    if partial or request.method not in SAFE:
        came_from = request.headers.get("hx-current-url") or request.headers.get("referer", "")
    back = path_of(came_from)
    if request.headers.get("content-type") and not partial:
        back, unsent = page_path(back), await read_unsent(request)
        return page(request, "sign_in.html", status=401, back=back, unsent=unsent, lost=not unsent)
    where = f"{SIGN_IN}?next={quote(back)}" if is_page(back) else SIGN_IN
    if partial:  # htmx follows this, and would put what a redirect leads to into the page
        return Response(status_code=401, headers={"HX-Redirect": where})
    return Response(status_code=303, headers={"Location": where})


def path_of(url: str) -> str:
    """Return the path and the query of a URL."""
    _, _, rest = url.partition("://")
    return "/" + rest.partition("/")[2].partition("#")[0]


# Static files of pages.

router = Routes(route_class=PageRoute, include_in_schema=False)


@router.get(STATIC + "{name}")
async def get_static_file(name: str, request: Request) -> Response:
    """Return a static file, which never changes: its name has the hash of its bytes."""
    asset = find_asset(name)
    if asset is None:
        raise NotFound("There is no such file: reload the page.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(asset.data, headers=headers, media_type=asset.media_type)
    headers["Content-Encoding"] = "gzip"
    return Response(asset.packed, headers=headers, media_type=asset.media_type)
