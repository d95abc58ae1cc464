"""The types of replies, which are written from the OpenAPI document."""

from typing import Any

import pytest

from building import reply_types

JOB = {
    "description": "A job.",
    "required": ["status", "id"],
    "properties": {
        "error": {"anyOf": [{"type": "object", "additionalProperties": True}, {"type": "null"}]},
        "id": {"type": "string", "description": "Its id."},
        "status": {"$ref": "#/components/schemas/Status"},
    },
}
CELLS = {
    "description": "Cells.",
    "required": ["class"],
    "properties": {
        "class": {"type": "array", "items": {"type": "number"}, "description": "Shares."},
    },
}
STATUS = {"description": "A status.", "enum": ["queued", "done"]}

WRITTEN = '''
Status = Literal["queued", "done"]
"""A status."""


class Job(TypedDict):
    """A job."""

    status: Status
    id: str
    """Its id."""
    error: NotRequired[dict[str, Any] | None]


Cells = TypedDict("Cells", {
    # Shares.
    "class": list[float],
})
"""Cells."""
'''


def document(**schemas: Any) -> dict[str, Any]:
    """A document whose replies are a page of jobs and cells, with further schemas."""
    reply = [{"$ref": "#/components/schemas/Page_JobView_"}, {"$ref": "#/components/schemas/Cells"}]
    page = {"properties": {"data": {"items": {"$ref": "#/components/schemas/JobView"}}}}
    known = {"Page_JobView_": page, "JobView": JOB, "Cells": CELLS, "Status": STATUS, **schemas}
    paths = {"/jobs": {"get": {"responses": reply}}}
    return {"paths": paths, "components": {"schemas": known}}


def test_each_schema_of_a_reply_has_a_type_after_those_that_it_needs() -> None:
    text = reply_types.written(document(NewJob={"description": "What a request holds."}))
    assert text == reply_types.HEAD + "\n" + WRITTEN


def test_a_schema_that_no_type_expresses_is_refused() -> None:
    odd = {"properties": {"any": {"type": "array", "prefixItems": []}}}
    with pytest.raises(ValueError, match="prefixItems"):
        reply_types.written(document(Status=odd))
