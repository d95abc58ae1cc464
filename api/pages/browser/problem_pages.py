"""Middleware that shows browsers their problems as pages."""

import json
from typing import Any
from urllib.parse import quote

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.paths import SIGN_IN, is_guide, is_page, page_path
from api.http.problems import MEDIA_TYPE, problem
from api.pages.browser.page_route import SAFE
from api.pages.browser.rendering import HEADERS, page, takes_json
from api.pages.browser.unsent_forms import read_unsent


class ProblemPages:
    """Turns the problem documents of pages into HTML; without a session, leads to sign in.

    Scripts that ask for JSON get the documents as they are.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (is_page(scope["path"]) or is_guide(scope["path"])):
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
                await _unexpected(Request(scope))(scope, receive, hold_problems)
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


def _unexpected(request: Request) -> Response:
    return problem(
        request,
        status=500,
        code="internal",
        title="An unexpected error occurred.",
        detail="The service's log has the details under this request id.",
        retryable=True,
    )
