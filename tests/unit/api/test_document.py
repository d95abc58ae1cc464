"""docs/openapi.json describes names and times; requests in the documents follow it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.support.places import ROOT

DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs/openapi.json").read_text("utf-8"))
SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def fields() -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the schema of every field of a body or reply, and of every parameter."""
    for schema in DOCUMENT["components"]["schemas"].values():
        yield from schema.get("properties", {}).items()
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] != "header":
                    yield parameter["name"], parameter["schema"]


def test_every_reply_has_an_example_that_fits_its_schema() -> None:
    seen = 0
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                for media_type, reply in response.get("content", {}).items():
                    if media_type not in {"application/json", "application/problem+json"}:
                        continue
                    where = f"{operation['operationId']} {status}"
                    assert "example" in reply or "examples" in reply, where
                    if "example" in reply:
                        schema = reply["schema"] | {"components": DOCUMENT["components"]}
                        jsonschema.validate(reply["example"], schema)
                        seen += 1
    assert seen > 60


def test_names_are_snake_case_and_times_have_a_format() -> None:
    found = list(fields())
    assert len(found) > 300
    assert [name for name, _ in found if not SNAKE_CASE.fullmatch(name)] == []
    times = [(name, schema) for name, schema in found if re.search(r"(^|_)(at|since|until)$", name)]
    without = {name for name, schema in times if "date-time" not in json.dumps(schema)}
    assert without == {"broken_at"}  # the number of an audit event


def unbounded(schema: Any, where: str) -> Iterator[str]:
    """Where a schema of what is sent takes texts, lists or objects of any length."""
    if isinstance(schema, list):
        for number, one in enumerate(schema):
            yield from unbounded(one, f"{where}/{number}")
    elif isinstance(schema, dict):
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            yield from unbounded(DOCUMENT["components"]["schemas"][name], name)
        of = schema.get("type")
        bounds = {"string": {"maxLength", "enum", "const", "pattern", "format"}}
        bounds |= {"array": {"maxItems"}}
        if schema.get("additionalProperties"):
            bounds["object"] = {"maxProperties"}
        if isinstance(of, str) and of in bounds and not bounds[of] & schema.keys():
            yield where
        for name, one in schema.items():
            if name not in {"example", "examples", "default"}:
                yield from unbounded(one, f"{where}/{name}")


def test_every_text_and_list_that_is_sent_as_json_has_a_longest() -> None:
    found = {
        place
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
        for kind, sent in operation.get("requestBody", {}).get("content", {}).items()
        if kind == "application/json"
        for place in unbounded(sent, operation["operationId"])
    }
    texts = "NewEmbeddings/properties/input/anyOf"  # images, each bounded by its bytes
    assert found == {f"{texts}/0", f"{texts}/1/items"}


def test_it_says_who_may_override_what() -> None:
    for name in ("Promotion", "Rollback"):
        override = DOCUMENT["components"]["schemas"][name]["properties"]["override"]
        for word in ("failed", "erased images", "an admin"):
            assert word in override["description"], name


PAGES = ("access", "api", "datasets", "operations", "trials", "webhooks")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
# A path of the API, below one of the ways in which pages write its address.
PATH = re.compile(r"(?:\$at|\$URL/v1|\$P/v1|http://127\.0\.0\.1:87[56]0/v1)(/[^ ?\")]*)")


def calls() -> Iterator[str]:
    """Every request by curl on the pages."""
    for name in PAGES:
        for text in BLOCK.findall((ROOT / f"docs/{name}.md").read_text("utf-8")):
            lines = text.replace("\\\n", "").splitlines()
            yield from (one for one in lines if PATH.search(one) and re.search("call |curl ", one))


def operation_of(call: str) -> dict[str, Any]:
    """The description of the operation that a request asks for."""
    (path,) = PATH.findall(call)
    named, sends = re.search(r"-X (\w+)", call), re.search(r"(--json|-F|-d) ", call)
    method = named[1].lower() if named else "post" if sends else "get"
    found = [
        template
        for template, methods in DOCUMENT["paths"].items()
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), f"/v1{path}") and method in methods
    ]
    assert found, call
    nearest = min(found, key=lambda template: template.count("{"))  # .../latest before .../{id}
    operation: dict[str, Any] = DOCUMENT["paths"][nearest][method]
    return operation


def properties(operation: dict[str, Any], media_type: str) -> set[str]:
    """The names of the fields that an operation takes."""
    text = json.dumps(operation["requestBody"]["content"][media_type]["schema"])
    schemas = DOCUMENT["components"]["schemas"]
    named = [schemas[name] for name in re.findall(r"#/components/schemas/(\w+)", text)]
    return {name for schema in (json.loads(text), *named) for name in schema.get("properties", ())}


@pytest.mark.parametrize("call", list(calls()), ids=lambda call: call[:60])
def test_what_is_sent_is_known(call: str) -> None:
    operation = operation_of(call)
    parameters = [one.get("name", "") for one in operation.get("parameters", [])]
    for name in re.findall(r"-H '([\w-]+):", call):
        assert name in {"Accept", "Content-Type", *parameters}
    for media_type in re.findall(r"-H 'Content-Type: ([^']+)'", call):
        assert media_type in operation["requestBody"]["content"]
    for sent in re.findall(r"(?:--json|-d) +'(.+?)'", call):
        assert json.loads(sent).keys() <= properties(operation, "application/json")
    for name in re.findall(r"-F '?(\w+)=", call):
        assert name in properties(operation, "multipart/form-data")
