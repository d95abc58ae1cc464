"""What docs/openapi.json says of names and times, and requests on the pages by what it says."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
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


PAGE = (ROOT / "docs/api.md").read_text()
OTHERS = ("access", "datasets", "operations", "trials", "webhooks")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
# A path of the API, below one of the ways in which pages write its address.
PATH = re.compile(r"(?:\$at|\$URL/v1|\$P/v1|http://127\.0\.0\.1:87[56]0/v1)(/[^ ?\")]*)")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request, and the reply that the page shows below it."""

    line: str
    reply: Any = None

    @property
    def method(self) -> str:
        """The method that curl sends."""
        named = re.search(r"-X (\w+)", self.line)
        sends = re.search(r"(--json|-F|-d) ", self.line)
        return named[1].lower() if named else "post" if sends else "get"

    @property
    def operation(self) -> dict[str, Any]:
        """The description of the operation."""
        (path,) = PATH.findall(self.line)
        found = [
            template
            for template, methods in DOCUMENT["paths"].items()
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), f"/v1{path}")
            and self.method in methods
        ]
        assert found, self.line
        named = min(found, key=lambda template: template.count("{"))  # .../latest before .../{id}
        operation: dict[str, Any] = DOCUMENT["paths"][named][self.method]
        return operation

    def body(self, media_type: str) -> dict[str, Any]:
        """The schema of what is sent."""
        content = self.operation["requestBody"]["content"]
        schema: dict[str, Any] = content[media_type]["schema"]
        return schema


def calls() -> Iterator[Call]:
    """Every request of the page; a reply belongs to the last one before it."""
    asked: list[str] = []
    for kind, text in BLOCK.findall(PAGE):
        if kind == "json":
            yield Call(line=asked.pop(), reply=json.loads(text))
        elif kind == "sh":
            yield from (Call(line=line) for line in asked)
            asked = [line for line in text.splitlines() if line.startswith("call ")]
    yield from (Call(line=line) for line in asked)


def other_calls() -> Iterator[Call]:
    """Every request of the other pages."""
    for name in OTHERS:
        for kind, text in BLOCK.findall((ROOT / f"docs/{name}.md").read_text("utf-8")):
            lines = text.replace("\\\n", "").splitlines() if kind == "sh" else ()
            found = [Call(line=line) for line in lines if PATH.search(line)]
            yield from (call for call in found if re.search(r"\b(call|curl) ", call.line))


CALLS = list(calls())
OTHER_CALLS = list(other_calls())
EACH = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.line[:60])


def unknown(value: Any, schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """Return the places where a value differs from its schema in its fields or choices."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from unknown(value, DOCUMENT["components"]["schemas"][name], at)
    elif "anyOf" in schema:
        tries = [list(unknown(value, one, at)) for one in schema["anyOf"]]
        yield from min(tries, key=len)
    elif isinstance(value, dict):
        fields, others = schema.get("properties", {}), schema.get("additionalProperties", False)
        for name, inner in value.items():
            if name in fields or isinstance(others, dict):
                yield from unknown(inner, fields.get(name, others), f"{at}/{name}")
            elif not others:
                yield f"{at}/{name}"
    elif isinstance(value, list):
        for inner in value:
            yield from unknown(inner, schema.get("items", {}), at)
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value}"


@pytest.mark.parametrize("call", CALLS + OTHER_CALLS, ids=lambda call: call.line[:60])
def test_what_is_sent_is_known(call: Call) -> None:
    parameters = [one.get("name", "") for one in call.operation.get("parameters", [])]
    for name in re.findall(r"-H '([\w-]+):", call.line):
        assert name in {"Accept", "Content-Type", *parameters}
    for media_type in re.findall(r"-H 'Content-Type: ([^']+)'", call.line):
        assert media_type in call.operation["requestBody"]["content"]
    for sent in re.findall(r"(?:--json|-d) +'(.+?)'", call.line):
        assert list(unknown(json.loads(sent), call.body("application/json"))) == []
    for name in re.findall(r"-F '?(\w+)=", call.line):
        assert name in call.body("multipart/form-data")["properties"]


@EACH
def test_a_reply_has_the_fields_that_it_may_have(call: Call) -> None:
    if call.reply is None:
        return
    responses = call.operation["responses"]
    if "request_id" in call.reply:
        examples = responses[str(call.reply["status"])]["content"]["application/problem+json"]
        assert call.reply["code"] in examples["examples"]
        schema = {"$ref": "#/components/schemas/Problem"}
    else:
        (good,) = [status for status in responses if status in {"200", "201", "202"}]
        schema = responses[good]["content"]["application/json"]["schema"]
    assert list(unknown(call.reply, schema)) == []
