"""Tables as CSV, which no spreadsheet must run."""

import csv
import io

import pytest

from api.http.answers import csv_text


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1+1", '=HYPERLINK("http://x")']
)
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe(name: str) -> None:
    (row,) = read(csv_text(("name",), [{"name": name}]))
    assert row["name"] == f"'{name}"


def test_other_cells_are_as_they_are() -> None:
    row = {"name": 'a "b", c', "number": -0.25, "flag": True, "none": None, "ignored": 1}
    columns = ("name", "number", "flag", "none", "absent")
    text = csv_text(columns, [row])
    assert text.endswith('"a ""b"", c",-0.25,true,,\r\n')
    assert text.startswith("name,number,flag,none,absent\r\n")
