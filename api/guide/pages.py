"""Pages of the guide: the documentation, for whoever asks."""

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import FileResponse, Response

from api.guide.library import FOUND, TYPES, files, folders, pages, read_document, search, titles
from api.guide.plain import MARKDOWN, is_plain, markdown_of
from api.http.routing import GUIDE, Routes
from api.pages.browsing import PageRoute
from api.pages.rendering import page
from core.errors import NotFound

router = Routes(prefix=GUIDE, route_class=PageRoute, include_in_schema=False)

FOLDERS = {"adr": "Decisions", "studies": "Studies"}  # the titles of their pages
LINK = re.compile(r'<a href="([^"]+)">(.*?)</a>')


@router.get("")
def show_guide(request: Request) -> Response:
    """Show the first page."""
    return _show(request, "")


@router.get("/search")
def search_guide(request: Request, q: Annotated[str, Query(max_length=100)] = "") -> Response:
    """Show the sections that hold some words."""
    return page(
        request, "guide/search.html", query=q, hits=search(q), most=FOUND, contents=_contents()
    )


@router.get("/{slug:path}")
def show_page(slug: str, request: Request) -> Response:
    """Show a page, or return it as Markdown, or one of the guide's files."""
    if slug in files():
        path = files()[slug]
        return FileResponse(path, media_type=TYPES[path.suffix])
    if is_plain(slug):
        return Response(markdown_of(slug), media_type=MARKDOWN)
    return _show(request, slug)


def _show(request: Request, slug: str) -> Response:
    if not pages():
        return page(request, "guide/missing.html", status=404)
    if slug not in pages() and slug not in folders():
        raise NotFound("The guide has no such page.")
    document = read_document(pages()[slug]) if slug in pages() else None
    return page(
        request,
        "guide/page.html",
        title=document.title if document else FOLDERS.get(slug, slug),
        document=document,
        listed=titles(folders().get(slug, ())),
        contents=_contents(),
        first=slug == "",
    )


def _contents() -> Sequence[tuple[str, list[tuple[str, str]]]]:
    """Return the first page's headings, each with the links of the list below it."""
    if not pages():
        return ()
    html = str(read_document(pages()[""]).html)
    parts = re.split(r'<h2 id="[^"]*">(.*?)</h2>', html)
    return [
        (heading, LINK.findall(body))
        for heading, body in zip(parts[1::2], parts[2::2], strict=True)
    ]
