"""The reference page: complete, escaped, and without anything from outside."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from api.guide.reference import kind, notes, reference_policy, render_reference
from tests.support.places import ROOT


class Reader(HTMLParser):
    """Collects ids, links and tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found[name] or "" for name in ("href", "src") if name in found]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def page(document: dict[str, Any]) -> str:
    return render_reference(document)


def test_every_operation_and_schema_is_on_the_page_once(
    document: dict[str, Any], page: str
) -> None:
    operations = [each for found in document["paths"].values() for each in found.values()]
    wanted = [operation["operationId"] for operation in operations]
    wanted += [f"schema-{name}" for name in document["components"]["schemas"]]
    assert sorted(Reader(page).ids) == sorted(wanted)
    for operation in operations:
        for parameter in operation.get("parameters", []):
            assert f"<code>{parameter['name']}</code>" in page


def test_links_stay_on_the_page_and_lead_somewhere(page: str) -> None:
    found = Reader(page)
    assert found.links
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert all(link.startswith("#") for link in found.links)
    assert not found.tags & {"script", "link", "img", "iframe"}
    assert not re.search(r"url\(|@import", page)
    assert reference_policy() in page.replace("&#39;", "'")


def test_texts_cannot_add_markup(document: dict[str, Any]) -> None:
    info = {"title": "<script>", "version": "1", "description": "<b>x</b> `<i>`"}
    page = render_reference({**document, "info": info})
    assert not Reader(page).tags & {"script"}
    assert "&lt;b&gt;x&lt;/b&gt; <code>&lt;i&gt;</code>" in page


def test_values_and_their_bounds_are_named_in_words() -> None:
    whole = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}]}
    assert (kind(whole), notes(whole)) == ("integer or null", ["at least 0", "at most 9"])
    several = {"type": "array", "items": {"$ref": "#/x/A"}}
    assert kind(several) == 'list of <a href="#schema-A">A</a>'
    assert kind({"enum": ["a", "<"]}) == "<code>a</code>, <code>&lt;</code>"
    assert kind({"type": "object", "additionalProperties": {"type": "string"}}) == "map to string"
    assert notes({"maxLength": 5, "default": "x"}) == ["at most 5 characters", "default x"]
