"""Requests by curl on the pages ask for what there is; replies in docs/api.md have known fields."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.places import ROOT

PAGE = (ROOT / "docs/api.md").read_text()
OTHERS = ("access", "datasets", "operations", "trials", "webhooks")
DOCUMENT = json.loads((ROOT / "docs/openapi.json").read_text())
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


def test_the_page_walks_through_all_four_and_through_an_erasure() -> None:
    headings = re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    assert len(headings) == 5
    asked = {call.operation["operationId"] for call in CALLS}
    wanted = {"teach_classes", "get_job", "list_job_events", "get_forgetting", "move_alias"}
    assert wanted | {"roll_alias_back", "classify_images"} <= asked
    assert {"order_image_erasure", "get_erasure", "get_erasure_certificate"} <= asked


def test_requests_of_every_other_page_are_found() -> None:
    for name in OTHERS:
        page = (ROOT / f"docs/{name}.md").read_text("utf-8")
        assert any(call.line[:40] in page for call in OTHER_CALLS), name


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


def test_a_field_that_there_is_not_shows() -> None:
    schema = {"$ref": "#/components/schemas/StartView"}
    assert list(unknown({"job": {"result": None, "colour": 1}}, schema)) == ["/job/colour"]
    assert list(unknown({"job": {"status": "asleep"}}, schema)) == ["/job/status: asleep"]
