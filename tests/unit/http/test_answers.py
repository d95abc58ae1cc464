"""Forms of answers by header, preconditions, and tables as CSV, which no spreadsheet must run."""

import csv
import io

import pytest

from api.http.answers import csv_text, expected_revision, preferred
from core.errors import NotAcceptable, PreconditionRequired, StaleRevision

OFFERED = ("application/json", "text/html")


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html", "text/html"),
        ("text/*", "text/html"),
        ("TEXT/HTML", "text/html"),
        ("text/html;q=0.5, application/json;q=0.4", "text/html"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("application/json;q=0, */*", "text/html"),
        ("", "application/json"),
    ],
)
def test_the_best_liked_form_is_given(accept: str | None, given: str) -> None:
    assert preferred(accept, OFFERED) == given


@pytest.mark.parametrize("accept", ["image/png", "text/html;q=0", "application/json;q=x"])
def test_no_form_that_is_liked(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        preferred(accept, OFFERED)


def five() -> int:
    return 5


def test_revisions_that_a_caller_decided_on() -> None:
    assert expected_revision('"7"', None, five) == 7
    for match in ('"7", "5"', '"7","5"', 'W/"9", "5"', ' , "5" ,'):
        assert expected_revision(match, None, five) == 5
    assert expected_revision("*", None, five) == 5
    assert expected_revision(None, "*", five) == 0
    with pytest.raises(PreconditionRequired):
        expected_revision(None, None, five)
    with pytest.raises(PreconditionRequired):
        expected_revision(None, '"7"', five)
    for match in ('"²"', '"7", "8"', 'W/"5"', '"5" x', '"5", "5', "5", '""'):
        with pytest.raises(StaleRevision):
            expected_revision(match, None, five)


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1+1", '=HYPERLINK("http://x")']
)
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe(name: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text(("name",), [{"name": name}])))
    assert row["name"] == f"'{name}"


def test_other_cells_are_as_they_are() -> None:
    row = {"name": 'a "b", c', "number": -0.25, "flag": True, "none": None, "ignored": 1}
    columns = ("name", "number", "flag", "none", "absent")
    text = csv_text(columns, [row])
    assert text.endswith('"a ""b"", c",-0.25,true,,\r\n')
    assert text.startswith("name,number,flag,none,absent\r\n")
