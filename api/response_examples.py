"""Examples of JSON replies, put together from the examples of the fields of their schemas."""

from collections.abc import Mapping
from typing import Any

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
