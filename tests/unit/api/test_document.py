"""What docs/openapi.json says of names and times."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema

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
