"""Refusals are small, however much is wrong with a request and however long what was sent is."""

import pytest

from api.http.json_bodies import MAX_PARTS
from api.http.problems import LONGEST, MOST_ERRORS
from core.errors import FieldInvalid
from tests.support.api.small_app import posted, small_app


@pytest.mark.parametrize("unknown", [MOST_ERRORS, MOST_ERRORS + 1, 5_000, MAX_PARTS - 10])
def test_the_first_errors_are_listed_and_the_others_counted(unknown: int) -> None:
    answer = posted({"text": "a"} | {f"field_{number}": 1 for number in range(unknown)})
    problem, omitted = answer.json(), unknown - MOST_ERRORS
    assert (answer.status_code, problem["code"]) == (422, "field_unknown")
    assert [line["pointer"] for line in problem["errors"]] == [
        f"/field_{number}" for number in range(MOST_ERRORS)
    ]
    if omitted:
        assert problem["facts"] == {"errors_omitted": omitted}
        assert problem["detail"].endswith(f"; and {omitted:,} more")
    else:
        assert "facts" not in problem


def test_an_unknown_field_gives_the_code_even_if_it_is_not_listed() -> None:
    problem = posted({"text": "a", "more": [1] * 30, "other": 1}).json()
    assert problem["code"] == "field_unknown"
    assert {line["code"] for line in problem["errors"]} == {"field_invalid"}


def test_a_name_that_was_sent_is_quoted_in_part() -> None:
    answer = posted({"text": "a", "b" * 100_000: 1})
    assert answer.json()["errors"][0]["pointer"] == "/" + "b" * (LONGEST - 2) + "…"
    assert len(answer.content) < 3 * LONGEST


def test_errors_and_their_facts_are_quoted_in_part() -> None:
    def refuse(text: str) -> None:
        raise FieldInvalid(f"No {text}", pointer=f"/{text}", model=text, count=len(text))

    answer = posted({"text": "a" * 5000}, small_app(take=refuse))
    problem = answer.json()
    assert problem["detail"] == problem["errors"][0]["detail"] == f"No {'a' * (LONGEST - 4)}…"
    assert len(problem["errors"][0]["pointer"]) == LONGEST
    assert problem["facts"] == {"model": "a" * (LONGEST - 1) + "…", "count": 5000}


def test_a_reason_of_the_framework_is_quoted_in_part() -> None:
    def refuse(text: str) -> None:
        raise ValueError(text)

    problem = posted({"text": "a" * 5000}, small_app(check=refuse)).json()
    assert len(problem["errors"][0]["detail"]) == LONGEST
