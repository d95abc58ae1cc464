"""The types of replies against docs/openapi.json, field by field."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import pytest

import perennial.types
from tests.support.places import ROOT

SCHEMAS = json.loads((ROOT / "docs" / "openapi.json").read_text())["components"]["schemas"]
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


def typed_dicts() -> Iterator[Any]:
    """Every TypedDict of the client, each once."""
    for info in pkgutil.walk_packages(perennial.types.__path__, "perennial.types."):
        module = importlib.import_module(info.name)
        yield from (
            one
            for one in vars(module).values()
            if is_typeddict(one) and one.__module__ == module.__name__
        )


def schema_of(typed_dict: Any) -> dict[str, Any]:
    """The API's schema of that name, with or without View."""
    name = typed_dict.__name__
    schema: dict[str, Any] = SCHEMAS.get(name) or SCHEMAS[f"{name}View"]
    return schema


def from_annotation(annotation: Any) -> Any:
    """Return an annotation in a form that a schema can be compared with."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return "any"
    if annotation in PLAIN:
        return PLAIN[annotation]
    if is_typeddict(annotation):
        return annotation.__name__.removesuffix("View")
    if origin is NotRequired:
        return from_annotation(arguments[0])
    if origin is Literal:
        return set(arguments)
    if origin is list:
        return ["array", from_annotation(arguments[0])]
    if origin is dict:
        return ["object", from_annotation(arguments[1])]
    assert origin in {UnionType, Union}
    assert arguments[-1] is NoneType
    return ["or null", *map(from_annotation, arguments[:-1])]


def from_schema(schema: Any) -> Any:
    """Return a schema in the same form."""
    if schema is True:
        return "any"
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return set(SCHEMAS[name]["enum"]) if "enum" in SCHEMAS[name] else name.removesuffix("View")
    if "anyOf" in schema:
        *given, null = schema["anyOf"]
        assert null == {"type": "null"}
        return ["or null", *map(from_schema, given)]
    if schema["type"] == "array":
        return ["array", from_schema(schema["items"])]
    if schema["type"] == "object":
        return ["object", from_schema(schema["additionalProperties"])]
    return schema["type"]


@pytest.mark.parametrize("typed_dict", list(typed_dicts()), ids=lambda one: one.__name__)
def test_a_type_has_the_fields_of_its_schema(typed_dict: Any) -> None:
    schema = schema_of(typed_dict)
    hints = get_type_hints(typed_dict)
    said = {name: from_annotation(hint) for name, hint in hints.items()}
    assert said == {name: from_schema(field) for name, field in schema["properties"].items()}
    assert typed_dict.__required_keys__ == set(schema.get("required", ()))


def test_every_schema_that_a_type_refers_to_has_a_type() -> None:
    names = {one.__name__ for one in typed_dicts()}
    told = json.dumps([schema_of(one) for one in typed_dicts()])
    referred = {name for name in SCHEMAS if f'schemas/{name}"' in told}
    objects = {name for name in referred if "enum" not in SCHEMAS[name]}
    assert {name.removesuffix("View") for name in objects} <= names
