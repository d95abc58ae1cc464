"""Tables as CSV, which no spreadsheet must run."""

import csv
import io
import json

import pytest

from api.http.answers import csv_text
from api.registry.report_pages import report_csv
from tests.support.evaluation.evaluations import report_of, second_update


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


def test_a_report_has_a_row_for_each_measure_and_class() -> None:
    report = report_of(second_update(), lambda *_: True)
    rows = read(report_csv(json.loads(report.to_bytes())))
    measures = [row for row in rows if row["row"] == "measure"]
    classes = [row for row in rows if row["row"] == "class"]
    assert len(measures) == len(report.measures)
    assert len(classes) == sum(len(table.classes) for table in report.changes)
    first, ruling = measures[0], report.measures[0]
    assert (first["name"], first["outcome"]) == (ruling.name, ruling.outcome.value)
    assert float(first["lower"]) == ruling.lower
    change = report.changes[0].classes[0]
    assert (classes[0]["class"], classes[0]["right"]) == (change.class_name, str(change.right))
    assert float(classes[0]["accuracy_lower"]) == change.accuracy_lower
