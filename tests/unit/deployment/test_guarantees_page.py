"""docs/guarantees.md and docs/limits.md name what there is."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache

from api.http.problems import status_of
from core.errors import PerennialError
from core.settings import Settings
from tests.nightly.faults.catalogue import ROWS
from tests.support.places import ROOT

PAGE = (ROOT / "docs/guarantees.md").read_text("utf-8")

TEST = re.compile(r"`(tests/\S+\.py)::(\w+)`")

ERROR = re.compile(r"\b([45]\d\d) `(\w+)`")

HINT = (
    "docs/guarantees.md: name {} under Resources, in a row that there is or in a new one: "
    "| `the operation's id` | what holds | `tests/.../test_file.py::test_name` |"
)


def section(heading: str) -> list[str]:
    text = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("|")][2:]


@cache
def names_of_tests_in(path: str) -> frozenset[str]:
    body = ast.parse((ROOT / path).read_text("utf-8")).body
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef))


def every_error(kind: type[PerennialError] = PerennialError) -> Iterator[type[PerennialError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from every_error(narrower)


def test_every_row_names_a_test_and_every_test_exists() -> None:
    for heading in ("Bad input", "Faults", "Rules", "Conventions", "Resources"):
        rows = section(heading)
        assert rows
        assert [row for row in rows if not TEST.search(row)] == []
    assert {
        (path, name) for path, name in TEST.findall(PAGE) if name not in names_of_tests_in(path)
    } == set()


def test_every_error_exists_with_its_status() -> None:
    known = {(str(status_of(kind)), kind().code) for kind in every_error()}
    assert set(ERROR.findall(PAGE)) <= known


def test_every_row_of_the_fault_table_is_named_and_no_other() -> None:
    named = {
        name for row in section("Faults") for name in re.findall(r"`(\w+)`", row.split("|")[3])
    }
    assert named == {row.name for row in ROWS}


def test_every_operation_is_named_and_no_other() -> None:
    paths = json.loads((ROOT / "docs/openapi.json").read_text("utf-8"))["paths"]
    ids = {found["operationId"] for methods in paths.values() for found in methods.values()}
    named = {
        name for row in section("Resources") for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert ids - named == set(), HINT.format(sorted(ids - named))
    assert named - ids == set(), "docs/guarantees.md names operations that there are no more"


ROW = re.compile(r"^\| `PERENNIAL_(\w+)` \| `(\S+)` \|", flags=re.MULTILINE)
LIMIT = re.compile(r"max_|min_|rate_|receive_|keep_alive_|decode_")


def test_every_limit_stands_there_with_its_default() -> None:
    told = ROW.findall((ROOT / "docs/limits.md").read_text("utf-8"))
    defaults = {name: str(field.default) for name, field in Settings.model_fields.items()}
    assert sorted(told) == sorted(
        (name.upper(), value) for name, value in defaults.items() if LIMIT.match(name)
    )
