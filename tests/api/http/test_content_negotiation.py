"""Content negotiation and preconditions, by header."""

import pytest

from api.http.answers import expected_revision, preferred
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
