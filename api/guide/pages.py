"""The API's reference as one self-contained HTML page, made from the OpenAPI document."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from jinja2 import Environment
from markupsafe import Markup, escape
from starlette.responses import FileResponse, HTMLResponse, Response

from api.guide.library import (
    FOUND,
    TYPES,
    files,
    folder_pages,
    pages,
    read_document,
    search,
    title_of_folder,
)
from api.http.routing import GUIDE, ThreadRoute
from api.pages.browsing import PageRoute
from api.pages.rendering import environment, page, policy_of
from core.errors import NotFound

Schema = Mapping[str, Any]

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")

_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
    "default": "default {}",
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation of the document, with its path and method."""

    path: str
    method: str
    value: Schema

    @property
    def tag(self) -> str:
        """The group that it is shown in."""
        return str(next(iter(self.value.get("tags", ())), "service"))


def render_reference(document: Schema) -> str:
    """Return the reference as an HTML page. It has no scripts and makes no requests."""
    groups: dict[str, list[Operation]] = {}
    for operation in _operations(document):
        groups.setdefault(operation.tag, []).append(operation)
    return (
        _environment()
        .get_template("reference.html")
        .render(
            document=document,
            policy=reference_policy(),
            groups=groups,
            schemas=document["components"]["schemas"],
            kind=kind,
            notes=notes,
        )
    )


def reference_policy() -> str:
    """Return the content security policy of the page, which allows only its own style sheet."""
    return policy_of(_style())


def kind(schema: Schema) -> Markup:
    """Return what a schema's values are, in words; named schemas are links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{}">{}</a>').format(name, name)
    for together in ("anyOf", "oneOf", "allOf"):
        if together in schema:
            return Markup(" or ").join(kind(each) for each in schema[together])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return Markup(", ").join(Markup("<code>{}</code>").format(value) for value in values)
    return _kind_of_type(schema)


def _kind_of_type(schema: Schema) -> Markup:
    match schema.get("type"):
        case "array":
            return Markup("list of {}").format(kind(schema.get("items", {})))
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return Markup("map to {}").format(kind(schema["additionalProperties"]))
        case None:
            return Markup("any value")
        case found:
            return escape(schema.get("format", found))


def notes(schema: Schema) -> Sequence[str]:
    """Return the bounds and the default of a schema's values."""
    found = [schema, *schema.get("anyOf", ())]
    return [
        text.format(each[name])
        for each in found
        for name, text in _BOUNDS.items()
        if each.get(name) not in (None, [], {})
    ]


def _with_code(text: str) -> Markup:
    """Return a description in which what stands in backticks is shown as code."""
    pieces = enumerate(text.split("`"))
    return Markup().join(
        Markup("<code>{}</code>").format(piece) if index % 2 else escape(piece)
        for index, piece in pieces
    )


def _operations(document: Schema) -> Iterator[Operation]:
    for path, found in document["paths"].items():
        for method in METHODS:
            if method in found:
                yield Operation(path=path, method=method.upper(), value=found[method])


@cache
def _environment() -> Environment:
    return environment(with_code=_with_code)


@cache
def _style() -> str:
    return _environment().get_template("reference.css").render()


# Pages of the guide: the documentation, for whoever asks.


router = APIRouter(prefix=GUIDE, route_class=PageRoute, include_in_schema=False)

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
    """Show a page, or return one of the guide's files."""
    if slug in files():
        path = files()[slug]
        return FileResponse(path, media_type=TYPES[path.suffix])
    return _show(request, slug)


def _show(request: Request, slug: str) -> Response:
    if not pages():
        return page(request, "guide/missing.html", status=404)
    listed = folder_pages(slug)
    if slug not in pages() and listed is None:
        raise NotFound("The guide has no such page.")
    document = read_document(pages()[slug]) if slug in pages() else None
    title = document.title if document else title_of_folder(slug)
    return page(
        request,
        "guide/page.html",
        title=title,
        document=document,
        listed=listed or (),
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


# Route of the API's reference for people.


reference_router = APIRouter(route_class=ThreadRoute)


@reference_router.get("/docs", include_in_schema=False)
def show_reference(request: Request) -> HTMLResponse:
    """Return the reference as a page, which needs no key: browsers send none."""
    app = request.app
    if not hasattr(app.state, "reference"):
        app.state.reference = render_reference(app.openapi())
    headers = {"Content-Security-Policy": reference_policy()}
    return HTMLResponse(app.state.reference, headers=headers)
