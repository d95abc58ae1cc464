"""The API's reference as one self-contained HTML page, made from the OpenAPI document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from api.http.routing import Routes, ThreadRoute
from api.pages.rendering import policy_of, render

router = Routes(route_class=ThreadRoute)

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


@router.get("/docs", include_in_schema=False)
def show_reference(request: Request) -> HTMLResponse:
    """Return the reference as a page, which needs no key: browsers send none."""
    app = request.app
    if not hasattr(app.state, "reference"):
        app.state.reference = render_reference(app.openapi())
    headers = {"Content-Security-Policy": reference_policy()}
    return HTMLResponse(app.state.reference, headers=headers)


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
    for path, found in document["paths"].items():
        for method in METHODS:
            if method in found:
                operation = Operation(path=path, method=method.upper(), value=found[method])
                groups.setdefault(operation.tag, []).append(operation)
    return render(
        "reference.html",
        document=document,
        policy=reference_policy(),
        groups=groups,
        schemas=document["components"]["schemas"],
        kind=kind,
        notes=notes,
    )


def reference_policy() -> str:
    """Return the content security policy of the page, which allows only its own style sheet."""
    return policy_of(render("reference.css"))


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
