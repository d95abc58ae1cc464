"""Recipes that earlier releases stored."""

from typing import Any

import pytest

from core.recipes.fields import LabelSpace, Method
from core.recipes.rules import Recipe

OLD = {"teacher": "parent", "label_space": "session", "exemplars": 1000, "mixing": 0.6}


@pytest.mark.parametrize(
    ("name", "changes", "exemplars", "label_space"),
    [
        (Method.VRLWF, {}, 0, LabelSpace.SESSION),
        (Method.VRLWF, {"exemplars": 50}, 0, LabelSpace.SESSION),
        (Method.FT, {"label_space": "open"}, 0, LabelSpace.OPEN),
        (Method.REPLAY, {}, 1000, LabelSpace.SEEN),
        (Method.REPLAY, {"exemplars": 50, "label_space": "open"}, 50, LabelSpace.OPEN),
    ],
)
def test_a_recipe_of_an_earlier_release_is_what_its_method_did(
    name: Method, changes: dict[str, Any], exemplars: int, label_space: LabelSpace
) -> None:
    recipe = Recipe.from_stored(OLD | {"method": name.value} | changes)
    as_then = {"exemplar_batch": 100, "exemplars": exemplars, "label_space": label_space}
    assert recipe == Recipe(method=name, **as_then)
    assert Recipe.from_stored(recipe.to_json()) == recipe


def test_stored_recipes_of_the_text_tower_without_exemplars_replayed_no_features() -> None:
    stored = Recipe.from_json({"method": "vrlwf", "part": "text"}).to_json()
    del stored["feature_replay"]
    stored["method"] = "vrlwf_replay"  # which with exemplars "none" made the choices of vrlwf
    assert Recipe.from_stored(stored).feature_replay == 0
    assert Recipe.from_stored(stored).augment


def test_stored_recipes_without_a_warm_start_started_from_their_parent() -> None:
    stored = Recipe(method=Method.VRLWF_REPLAY).to_json()
    assert stored.pop("warm_start") == 0.5
    assert Recipe.from_stored(stored).warm_start == 1
    assert Recipe.from_stored(stored | {"warm_start": 0.3}).warm_start == 0.3
