"""The document says of a recipe what the recipe itself takes."""

from typing import Any

import pytest

from api.jobs.orders import RECIPE_SCHEMA
from core.errors import RecipeInvalid
from core.recipes.rules import Recipe

FIELDS = {name: field for name, field in RECIPE_SCHEMA["properties"].items() if name != "preset"}

BOUNDED = [name for name, schema in FIELDS.items() if "minimum" in schema]

CHOICES = [name for name, schema in FIELDS.items() if "enum" in schema]


def test_every_field_is_described_in_one_line_with_its_default() -> None:
    assert {name: field["default"] for name, field in FIELDS.items()} == Recipe().to_json()
    assert all(5 < len(field["description"]) < 100 for field in FIELDS.values())


def test_a_recipe_is_shown_in_plain_words_and_numbers() -> None:
    kinds = {type(value) for value in Recipe().to_json().values()}
    assert kinds == {str, int, float, bool, list}


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_the_ones_that_are_checked(name: str) -> None:
    low, high = FIELDS[name]["minimum"], FIELDS[name]["maximum"]
    step = 1 if FIELDS[name]["type"] == "integer" else 1e-3 * max(low, 1e-9)
    for value in (low, high):
        assert made(name, value).to_json()[name] == value
    for value in (low - step, high + (1 if step == 1 else high * 1e-6)):
        with pytest.raises(RecipeInvalid):
            made(name, value)


@pytest.mark.parametrize("name", BOUNDED)
def test_whole_numbers_are_the_ones_that_must_be_whole(name: str) -> None:
    between = FIELDS[name]["minimum"] + (FIELDS[name]["maximum"] - FIELDS[name]["minimum"]) / 2.5
    if FIELDS[name]["type"] == "number":
        assert made(name, between).to_json()[name] == between
    else:
        with pytest.raises(RecipeInvalid):
            made(name, between + 0.25)


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_the_ones_that_are_taken(name: str) -> None:
    for value in FIELDS[name]["enum"]:
        assert made(name, value).to_json()[name] == value
    with pytest.raises(RecipeInvalid) as refusal:
        made(name, "no such thing")
    for value in FIELDS[name]["enum"]:
        assert value in refusal.value.message


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([], "must be given with"),
        (["a cat"], "two different"),
        (["a cat", "a cat"], "two different"),
        (["a cat", " \n"], "blank"),
        (["a cat", "x"] * 50_001, "100,000"),
        ("a cat", "list of texts"),
        (["a cat", 7], "list of texts"),
    ],
)
def test_given_sentences_that_rank_nothing_are_refused(texts: Any, reason: str) -> None:
    with pytest.raises(RecipeInvalid, match=reason) as refusal:
        Recipe.from_json({"vocabulary": "file", "vocabulary_texts": texts})
    assert refusal.value.pointer == "/recipe/vocabulary_texts"


def test_an_unknown_field_is_pointed_to_whatever_its_name() -> None:
    with pytest.raises(RecipeInvalid) as refusal:
        Recipe.from_json({"a/b~c": 1})
    assert refusal.value.pointer == "/recipe/a~1b~0c"


@pytest.mark.parametrize("name", BOUNDED)
def test_what_is_no_number_is_refused(name: str) -> None:
    for odd in (True, "1", None, float("nan"), float("inf")):
        with pytest.raises(RecipeInvalid):
            made(name, odd)


def made(name: str, value: Any) -> Recipe:
    """A recipe with one field of its own, and what that field cannot be without."""
    others: dict[tuple[str, Any], dict[str, Any]] = {
        ("vocabulary", "file"): {"vocabulary_texts": ["a", "b"]},
        ("label_space", "session"): {"exemplars": 0},
    }
    if name == "feature_replay":
        others[name, value] = {"exemplars": 0}
    return Recipe.from_json({name: value, **others.get((name, value), {})})
