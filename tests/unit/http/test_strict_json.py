"""JSON of clients is bounded before it becomes values, and a bad text in it is pointed to."""

import json
import tracemalloc
from typing import Any

import pytest

from api.http.json_bodies import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_PARTS,
    MAX_VALUES,
    parse,
    require_storable,
)
from core.errors import FieldInvalid
from tests.support.api.greedy_json import GREEDY, most_bytes


def refusal(text: str | bytes, pointer: str = "") -> FieldInvalid:
    with pytest.raises(FieldInvalid) as raised:
        parse(text, pointer=pointer)
    return raised.value


@pytest.mark.parametrize("odd", ["\\u0000", "\\ud83d", "\\uDE00 a", "\ud800"])
def test_a_text_that_cannot_be_stored_is_pointed_to_however_deep_it_is(odd: str) -> None:
    text = '{"fine": "é", "a/b": [1, {"c~d": [null, "😀", "' + odd + '"]}]}'
    assert refusal(text).pointer == "/a~1b/1/c~0d/2"
    assert refusal(text.encode(errors="surrogatepass"), "/recipe").pointer == (
        "/recipe/a~1b/1/c~0d/2"
    )


def test_a_name_that_cannot_be_stored_is_pointed_to_by_its_object() -> None:
    assert refusal(r'{"a": [0, {"b": 1, "c\u0000": 2}]}').pointer == "/a/1"
    with pytest.raises(FieldInvalid) as raised:
        require_storable({"a": "b\0"})
    assert raised.value.pointer == "/a"


def test_what_only_looks_like_a_bad_text_is_taken() -> None:
    for value in (["\\u0000"], {"\\ud800": "😀"}, ["\ufeff\u2028"]):
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            assert parse(text) == parse(text.encode()) == value


@pytest.mark.parametrize(
    "value",
    [
        {"recipe": {"vocabulary": "file", "vocabulary_texts": ["a, [b]: {c}"] * 100_000}},
        {"labels": [{"prediction": "pred_0", "label": "a"}] * 1000},
        {"input": ["a" * 2000] * 2048},
        ["a, \\ \"[{:,]}\" \n"] * 10_000,
        [[]] * (MAX_PARTS - 1),
        {str(number): number for number in range(MAX_PARTS - 1)},
        ["[{:,"] * MAX_VALUES,
        10**MAX_DIGITS - 1,
    ],
    ids=["recipe", "labels", "texts", "classes", "lists", "fields", "values", "digits"],
)  # fmt: skip
def test_what_the_api_takes_is_within_the_bounds(value: Any) -> None:
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, separators=(",", ":")).encode()) == value


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        (json.dumps([1] * (MAX_VALUES + 1)), f"{MAX_VALUES:,} values"),
        (json.dumps({"a": ["b"] * MAX_VALUES}), f"{MAX_VALUES:,} values"),
        (json.dumps([[]] * MAX_PARTS), "fields, objects and lists"),
        (json.dumps([{"a": 1}] * (MAX_PARTS // 2)), "fields, objects and lists"),
        (json.dumps(dict.fromkeys(map(str, range(MAX_PARTS)))), "fields, objects and lists"),
        (json.dumps({"a": "\\"})[:-1] + ',"b":[' + "{}," * MAX_PARTS + "1]}", "objects and lists"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "within each other"),
        ('{"]]": [' * (MAX_DEPTH // 2) + "{" + "}" + "]}" * (MAX_DEPTH // 2), "within each other"),
        ("[" * 100_000, "objects and lists"),
        ("1" * (MAX_DIGITS + 1), "digits"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_beyond_a_bound_is_refused(text: str, bound: str) -> None:
    for sent in (text, text.encode()):
        error = refusal(sent, "/recipe")
        assert bound in error.message
        assert error.code == "field_invalid"


def test_as_deep_as_the_bound_is_taken() -> None:
    assert refusal("[" * 100, "/classes").pointer == "/classes"
    assert refusal("[" * 100).pointer is None
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse(deep)) == deep
    wide = deep[1:-1] + ", []" * MAX_DEPTH  # more brackets than levels
    assert len(parse(f"[{wide}]")) == 1 + MAX_DEPTH
    assert parse(json.dumps(deep + "[")) == deep + "["


def test_what_is_not_json_is_no_value() -> None:
    for text in ("", "{", "[1,]", '"a', "'a'", '"\\"', "]" * 100, "\\[", '{"a":\\"}'):
        with pytest.raises(json.JSONDecodeError):
            parse(text)
    for text in ("NaN", "[Infinity]", '{"a": -Infinity}'):  # which Python takes for numbers
        with pytest.raises(ValueError, match="is no JSON"):
            parse(text)
    assert parse(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}  # behind a mark of the byte order


@pytest.mark.parametrize("body", GREEDY.values(), ids=GREEDY)
def test_a_value_takes_at_most_a_few_times_the_memory_of_its_text(body: bytes) -> None:
    tracemalloc.start()
    try:
        parse(body)
    except (FieldInvalid, ValueError):
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < most_bytes(body)
