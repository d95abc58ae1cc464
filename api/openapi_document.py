"""The OpenAPI document, with stable operation ids, problem documents and the API key."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

from api.http.limits import UNLIMITED
from api.http.middleware import TAGGED
from api.http.problems import MEDIA_TYPE, status_of, title_of, type_of
from api.http.routing import EXAMPLES, JSON, OPEN_PATHS, raises
from api.http.schemas import Problem, ProblemLine
from core import errors

DESCRIPTION = (
    "Teach CLIP models new classes without forgetting the old ones. Every error is an RFC 9457 "
    "problem document with a stable `code`. Every path that takes GET also takes HEAD."
)

_ErrorTypes = Sequence[type[errors.PerennialError]]

# Errors that any operation may return, and that those with a key, a rate and a body add.
_EVERYWHERE: _ErrorTypes = (errors.Malformed, errors.FieldUnknown, errors.FieldInvalid)

_WITH_KEY: _ErrorTypes = (
    errors.Unauthorised,
    errors.Forbidden,
    errors.DatabaseUnavailable,
    errors.IssuerUnavailable,
)

_WITH_RATE: _ErrorTypes = (errors.RateExceeded,)
_WITH_BODY: _ErrorTypes = (errors.RequestTimeout, errors.BodyTooLarge, errors.UnsupportedMediaType)

_RATE_HEADERS = {
    name: {"description": description, "schema": {"type": schema}}
    for name, description, schema in (
        ("Retry-After", "Seconds after which to try again.", "integer"),
        (
            "RateLimit-Policy",
            'The rate of your key, as in `"requests";q=1000;w=10`; `"inference"` for requests that '
            "only ask a model.",
            "string",
        ),
        ("RateLimit", 'What is left of the rate, as in `"requests";r=0;t=4`.', "string"),
    )
}


def downloads(
    media_type: str, *error_types: type[errors.PerennialError]
) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that sends a file, whole or by range, or these errors."""
    return {
        200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "The requested range."},
        304: {"description": "If-None-Match names the file's ETag: the client has the file."},
        **raises(*error_types, errors.Malformed, errors.RangeNotSatisfiable),
    }


def stored_images(*error_types: type[errors.PerennialError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that sends a stored image, or one of these errors."""
    return {
        200: {"content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "If-None-Match names the image's ETag: the client has the image."},
        **raises(
            *error_types, errors.ImageNotFound, errors.ArtifactMissing, errors.ArtifactCorrupt
        ),
    }


def multipart(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that reads its form itself."""
    schema = {"type": "object", "properties": dict(properties), **more}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def binary(*media_types: str, required: bool = True) -> dict[str, Any]:
    """Return the `openapi_extra` of a route whose body is a file of one of these types."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": required, "content": dict.fromkeys(media_types, schema)}}


def describe(app: FastAPI) -> None:
    """Make our document the app's OpenAPI document and serve it at /openapi.json, to anyone."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    @cache
    def text() -> bytes:
        return json.dumps(document(), ensure_ascii=False).encode()

    @app.get("/openapi.json", include_in_schema=False)
    def show_document() -> Response:
        return Response(text(), media_type=JSON)

    app.openapi = document  # type: ignore[method-assign]


def to_text(app: FastAPI) -> str:
    """Return the document as the text that is committed."""
    return json.dumps(app.openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    schemas = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (Problem, ProblemLine):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in found["paths"].items():
        for operation in operations.values():
            _add_errors_and_key(operation, path)
            _add_examples(operation, schemas)
        if "get" in operations:
            _add_entity_tag(operations["get"])
    tags = {tag for each in found["paths"].values() for one in each.values() for tag in one["tags"]}
    found["tags"] = [{"name": tag} for tag in sorted(tags)]
    found["components"]["headers"] = _RATE_HEADERS
    found["components"]["examples"] = _examples(json.dumps(found["paths"]))
    return found


def _examples(paths: str) -> dict[str, Any]:
    by_code = {each().code: each for each in _with_subclasses(errors.PerennialError)}
    used = (code for code in sorted(by_code) if f'"{EXAMPLES}{code}"' in paths)
    return {code: {"value": _example(by_code[code])} for code in used}


def _example(error_type: type[errors.PerennialError]) -> dict[str, Any]:
    error = error_type()
    return {
        "type": type_of(error.code),
        "code": error.code,
        "title": title_of(error_type),
        "status": status_of(error_type),
        "detail": error.message,
        "errors": [],
        "request_id": "req_5f0c8a1d2b3e4f5061728394",
        "retryable": error.retryable,
    }


def _with_subclasses(
    error_type: type[errors.PerennialError],
) -> Iterator[type[errors.PerennialError]]:
    yield error_type
    for child in error_type.__subclasses__():
        yield from _with_subclasses(child)


def _add_errors_and_key(operation: dict[str, Any], path: str) -> None:
    """Replace the framework's 422 with our problems, and require the key unless all may ask."""
    responses = operation["responses"]
    if "HTTPValidationError" in json.dumps(responses.get("422", {})):
        del responses["422"]
    error_types = list(_EVERYWHERE)
    if path not in OPEN_PATHS:
        operation["security"] = [{"key": []}]
        error_types += _WITH_KEY
    if path not in UNLIMITED:
        error_types += _WITH_RATE
    if "requestBody" in operation:
        error_types += _WITH_BODY
    for status, response in raises(*error_types).items():
        present = responses.setdefault(str(status), response)
        examples = present["content"][MEDIA_TYPE]["examples"]
        examples |= response["content"][MEDIA_TYPE]["examples"]
        present["description"] = ", ".join(examples)
    if "429" in responses:
        refs = {name: {"$ref": f"#/components/headers/{name}"} for name in _RATE_HEADERS}
        responses["429"]["headers"] = refs


def _add_entity_tag(operation: dict[str, Any]) -> None:
    """Declare If-None-Match and 304 of a document (`EntityTags` of api/http/middleware.py)."""
    if not set(TAGGED) & operation["responses"]["200"].get("content", {}).keys():
        return
    parameters = operation.setdefault("parameters", [])
    if not any(parameter["name"] == "If-None-Match" for parameter in parameters):
        description = "The `ETag` of a reply that you have: if nothing changed, you get a 304."
        schema = {"type": "string"}
        parameters.append(
            {"name": "If-None-Match", "in": "header", "description": description, "schema": schema}
        )
    operation["responses"].setdefault(
        "304", {"description": "If-None-Match has the ETag: the reply has not changed."}
    )


# Examples of JSON replies, put together from the examples of the fields of their schemas.

Schema = Mapping[str, Any]

_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_TIME = "2026-01-31T12:00:00Z"

# Values of texts whose field has no example of its own, by the last word of its name.
_TEXTS = {
    "archive": _DIGEST,
    "as": _DIGEST,
    "by": "admin",
    "class": "boot",
    "classes": "boot",
    "dataset": "products",
    "drafts": "products",
    "digest": _DIGEST,
    "duplicates": _DIGEST,
    "group": _DIGEST,
    "hash": _DIGEST,
    "images": _DIGEST,
    "job": "job_0199c2a4e1b7d3f4a5b6c7d8e9f0",
    "model": "demo",
    "pixels": _DIGEST,
    "prompt": "a photo of a {name}.",
    "reason": "better on products",
    "role": "candidate",
    "suite": "photographs",
    "suites": "photographs",
}


def _add_examples(operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    """Give each JSON reply of a success an example, unless it has one."""
    for status, response in operation["responses"].items():
        reply = response.get("content", {}).get(JSON)
        if status.startswith("2") and reply is not None:
            reply.setdefault("example", example_of(reply["schema"], schemas))


def example_of(schema: Schema, schemas: Mapping[str, Schema], name: str = "") -> Any:
    """Return a value of a schema, the field `name` of its object; `schemas` are those by name.

    A field that may be null and has no example is null.
    """
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    fixed = [schema[key] for key in ("const", "default") if key in schema]
    if given := schema.get("examples") or schema.get("enum") or fixed:
        return given[0]
    choices = schema.get("anyOf", schema.get("oneOf", ()))
    if any(choice.get("type") == "null" for choice in choices):
        return None
    if choices:
        return example_of(choices[0], schemas, name)
    return _of_type(schema, schemas, name)


def _of_type(schema: Schema, schemas: Mapping[str, Schema], name: str) -> Any:
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {}).items()
            return {field: example_of(value, schemas, field) for field, value in fields}
        case "array":
            return [example_of(schema["items"], schemas, name)]
        case "string" if schema.get("format") != "date-time":
            return _TEXTS.get(name.rpartition("_")[2], name.replace("_", " "))
    others = {"string": _TIME, "integer": schema.get("minimum", 1), "number": 0.5, "boolean": False}
    return others.get(schema.get("type", ""))
