"""The OpenAPI document: stable operation ids, our problems, the key."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api.http.middleware import OPEN_PATHS
from api.http.problems import MEDIA_TYPE, status_of, title_of, type_of
from api.schemas.common import Problem, ProblemLine
from core import errors

DESCRIPTION = (
    "Keep a CLIP model learning new classes without forgetting the rest. Every error is an "
    "RFC 9457 problem document with a stable `code`."
)
_EXAMPLES = "#/components/examples/"
_Facts = Sequence[type[errors.PerennialError]]

# What any operation may answer, what one with a key, and what one that reads a body.
_EVERYWHERE: _Facts = (errors.Malformed, errors.FieldUnknown, errors.FieldInvalid)
_WITH_KEY: _Facts = (errors.Unauthorised, errors.DatabaseUnavailable)
_WITH_BODY: _Facts = (errors.RequestTimeout, errors.BodyTooLarge, errors.UnsupportedMediaType)


def operation_id(route: APIRoute) -> str:
    """A route's function name is its operation id."""
    return route.name


def raises(*facts: type[errors.PerennialError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may raise these facts, with an example of each."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for fact in facts:
        status = status_of(fact)
        answer = by_status.setdefault(status, {"content": {MEDIA_TYPE: {"examples": {}}}})
        answer["content"][MEDIA_TYPE]["schema"] = {"$ref": "#/components/schemas/Problem"}
        code = fact().code
        answer["content"][MEDIA_TYPE]["examples"][code] = {"$ref": f"{_EXAMPLES}{code}"}
    for answer in by_status.values():
        answer["description"] = ", ".join(answer["content"][MEDIA_TYPE]["examples"])
    return by_status


def multipart(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its form by itself."""
    schema = {"type": "object", "properties": dict(properties), **more}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def describe(app: FastAPI) -> None:
    """Let the app answer with our document, at /openapi.json too."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    app.get("/openapi.json", include_in_schema=False)(document)


def to_text(app: FastAPI) -> str:
    """The document as it is committed."""
    return json.dumps(app.openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    schemas = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (Problem, ProblemLine):
        whole = model.model_json_schema(ref_template="#/components/schemas/{model}")
        whole.pop("$defs", None)
        schemas[model.__name__] = whole
    found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in found["paths"].items():
        for operation in operations.values():
            _mend(operation, is_open=path in OPEN_PATHS)
    found["components"]["examples"] = _examples(json.dumps(found["paths"]))
    return found


def _examples(paths: str) -> dict[str, Any]:
    """An example of every fact that some path refers to."""
    facts = {fact().code: fact for fact in _family(errors.PerennialError)}
    used = (code for code in sorted(facts) if f'"{_EXAMPLES}{code}"' in paths)
    return {code: {"value": _example(facts[code])} for code in used}


def _family(fact: type[errors.PerennialError]) -> Iterator[type[errors.PerennialError]]:
    yield fact
    for child in fact.__subclasses__():
        yield from _family(child)


def _mend(operation: dict[str, Any], *, is_open: bool) -> None:
    """Our problems instead of the framework's own 422; the key where it is needed."""
    answers = operation["responses"]
    if "HTTPValidationError" in json.dumps(answers.get("422", {})):
        del answers["422"]
    facts = list(_EVERYWHERE)
    if not is_open:
        operation["security"] = [{"key": []}]
        facts += _WITH_KEY
    if "requestBody" in operation:
        facts += _WITH_BODY
    for status, answer in raises(*facts).items():
        present = answers.setdefault(str(status), answer)
        examples = present["content"][MEDIA_TYPE]["examples"]
        examples |= answer["content"][MEDIA_TYPE]["examples"]
        present["description"] = ", ".join(examples)


def _example(fact: type[errors.PerennialError]) -> dict[str, Any]:
    error = fact()
    return {
        "type": type_of(error.code),
        "code": error.code,
        "title": title_of(fact),
        "status": status_of(fact),
        "detail": error.message,
        "errors": [],
        "request_id": "req_5f0c8a1d2b3e4f5061728394",
        "retryable": error.retryable,
    }
