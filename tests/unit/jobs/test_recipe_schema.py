"""The document says of a recipe what the recipe itself takes."""

from typing import Any

import pytest

from api.jobs.orders import RECIPE_SCHEMA
from core.errors import RecipeInvalid
from core.recipes.rules import Recipe

FIELDS = {name: field for name, field in RECIPE_SCHEMA["properties"].items() if name != "preset"}

BOUNDED = [name for name, schema in FIELDS.items() if "minimum" in schema]


def test_every_field_is_described_in_one_line_with_its_default() -> None:
    assert {name: field["default"] for name, field in FIELDS.items()} == Recipe().to_json()
    assert all(5 < len(field["description"]) < 100 for field in FIELDS.values())


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_the_ones_that_are_checked(name: str) -> None:
    low, high = FIELDS[name]["minimum"], FIELDS[name]["maximum"]
    step = 1 if FIELDS[name]["type"] == "integer" else 1e-3 * max(low, 1e-9)
    for value in (low, high):
        assert made(name, value).to_json()[name] == value
    odd = (True, "1", None, float("nan"), float("inf"))
    for value in (low - step, high + (1 if step == 1 else high * 1e-6), *odd):
        with pytest.raises(RecipeInvalid):
            made(name, value)
    if step == 1:
        with pytest.raises(RecipeInvalid):
            made(name, low + 0.25)


def made(name: str, value: Any) -> Recipe:
    """A recipe with one field of its own, and what that field cannot be without."""
    others: dict[tuple[str, Any], dict[str, Any]] = {
        ("vocabulary", "file"): {"vocabulary_texts": ["a", "b"]},
        ("label_space", "session"): {"exemplars": 0},
    }
    if name == "feature_replay":
        others[name, value] = {"exemplars": 0}
    return Recipe.from_json({name: value, **others.get((name, value), {})})
