"""Released operations stay compatible; the rules for that are tested on a small document."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.support.api_changes import incompatibilities
from tests.support.places import ROOT

Document = dict[str, Any]
# Rules that the released service enforced, and its document did not state.
STATED_SINCE = {
    "POST /v1/datasets body.name has another pattern",
    "POST /v1/gate-policies body.name has another pattern",
    "POST /v1/models body.name has another pattern",
    "POST /v1/suites body.name has another pattern",
    "PUT /v1/models/{model}/aliases/{alias} ?alias has another pattern",
    "GET /v1/jobs/{job}/events ?Last-Event-ID has another pattern",
    "GET /v1/jobs/{job}/events ?Last-Event-ID does not take null",  # nor can a header be null
}


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """The released document, and the present one."""
    return [
        json.loads((ROOT / "docs" / name).read_text("utf-8"))
        for name in ("openapi-released.json", "openapi.json")
    ]


def test_no_released_operation_has_changed_incompatibly(documents: list[Document]) -> None:
    released, present = documents
    assert len(released["paths"]) > 20
    assert set(incompatibilities(released, present)) == STATED_SINCE


def test_every_new_operation_and_error_is_in_the_list_of_changes(
    documents: list[Document],
) -> None:
    released, present = (
        {f"{method.upper()} {path}" for path, found in each["paths"].items() for method in found}
        | set(each["components"]["examples"])
        for each in documents
    )
    listed = (ROOT / "docs" / "api-changes.md").read_text("utf-8").partition("## Unreleased")[2]
    assert {new for new in present - released if f"`{new}`" not in listed} == set()


PET = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "kind": {"enum": ["cat", "dog"], "type": "string"},
        "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "parents": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}},
    },
    "required": ["name"],
}
REFERENCE = {"$ref": "#/components/schemas/Pet"}
DOCUMENT: Document = {
    "paths": {
        "/pets": {
            "post": {
                "operationId": "add_pet",
                "x-required-role": "contributor",
                "parameters": [
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 9}}
                ],
                "requestBody": {"content": {"application/json": {"schema": REFERENCE}}},
                "responses": {"201": {"content": {"application/json": {"schema": REFERENCE}}}},
            }
        }
    },
    "components": {"schemas": {"Pet": PET}},
}
Change = Callable[[Document], Any]


def changed(change: Change) -> list[str]:
    """What a change of the small document would break."""
    new = deepcopy(DOCUMENT)
    change(new)
    return incompatibilities(DOCUMENT, new)


def operation(document: Document) -> Document:
    found: Document = document["paths"]["/pets"]["post"]
    return found


def pet(document: Document) -> Document:
    found: Document = document["components"]["schemas"]["Pet"]
    return found


def parameter(name: str, *, required: bool) -> Document:
    return {"name": name, "in": "query", "required": required, "schema": {"type": "string"}}


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda d: d["paths"].clear(), ["POST /pets is gone"]),
        (
            lambda d: operation(d).update(operationId="new_pet"),
            ["POST /pets has another operationId"],
        ),
        (lambda d: operation(d).update(security=[{"key": []}]), ["POST /pets needs a key"]),
        (
            lambda d: operation(d).update({"x-required-role": "operator"}),
            ["POST /pets takes the role operator"],
        ),
        (lambda d: operation(d)["parameters"].pop(), ["POST /pets has no parameter limit"]),
        (
            lambda d: operation(d)["parameters"].append(parameter("sort", required=True)),
            ["POST /pets requires parameter sort"],
        ),
        (
            lambda d: operation(d)["parameters"][0]["schema"].update(maximum=5, minimum=1),
            ["POST /pets ?limit has minimum 1", "POST /pets ?limit has maximum 5"],
        ),
        (
            lambda d: operation(d)["parameters"][0]["schema"].update(type="string"),
            ["POST /pets ?limit does not take integer"],
        ),
        (
            lambda d: operation(d)["requestBody"].update(required=True),
            ["POST /pets requires a body"],
        ),
        (
            lambda d: operation(d)["requestBody"]["content"].clear(),
            ["POST /pets takes no application/json"],
        ),
        (lambda d: operation(d)["responses"].clear(), ["POST /pets 201 is gone"]),
        (
            lambda d: operation(d)["responses"]["201"]["content"].clear(),
            ["POST /pets 201 has no application/json"],
        ),
        (
            lambda d: pet(d)["properties"].pop("tags"),
            ["POST /pets body.tags is gone", "POST /pets 201.tags is gone"],
        ),
        (lambda d: pet(d)["required"].append("age"), ["POST /pets body.age is required"]),
        (lambda d: pet(d)["required"].clear(), ["POST /pets 201.name may be missing"]),
        (
            lambda d: pet(d)["properties"]["kind"]["enum"].remove("dog"),
            ["POST /pets body.kind does not take dog"],
        ),
        (
            lambda d: pet(d)["properties"]["name"].update(pattern="a+"),
            ["POST /pets body.name has another pattern"],
        ),
        (
            lambda d: pet(d)["properties"]["age"]["anyOf"].pop(),
            ["POST /pets body.age does not take null"],
        ),
        (
            lambda d: pet(d)["properties"]["age"]["anyOf"].append({"type": "string"}),
            ["POST /pets 201.age may be string"],
        ),
        (
            lambda d: pet(d)["properties"]["tags"]["items"].update(type="integer"),
            ["POST /pets body.tags[] does not take string", "POST /pets 201.tags[] may be integer"],
        ),
    ],
)
def test_what_would_break_a_client_is_named(change: Change, broken: list[str]) -> None:
    assert changed(change) == broken


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["paths"].update({"/new": {"get": {"operationId": "x", "responses": {}}}}),
        lambda d: operation(d)["parameters"].append(parameter("sort", required=False)),
        lambda d: operation(d)["parameters"][0]["schema"].update(type="number", maximum=10),
        lambda d: pet(d)["properties"].update(colour={"type": "string"}),
        lambda d: pet(d)["properties"]["kind"]["enum"].append("owl"),
        lambda d: pet(d)["properties"]["name"].pop("maxLength"),
        lambda d: operation(d)["responses"].update({"202": {}}),
        lambda d: operation(d).update({"x-required-role": "viewer"}),
    ],
)
def test_what_only_adds_is_compatible(change: Change) -> None:
    assert changed(change) == []
