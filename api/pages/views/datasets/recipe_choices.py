"""The recipes that the page of an order offers; the API takes every other as well."""

from dataclasses import dataclass

from core.domain.recipes.choices import Method
from core.domain.recipes.recipe import Recipe
from core.domain.values import Json
from core.errors import FieldInvalid


@dataclass(frozen=True, kw_only=True)
class RecipeChoice:
    """A recipe, and what to know of it."""

    name: str
    words: str
    recipe: Json


CHOICES = (
    RecipeChoice(
        name="default",
        words="default: replays sentences and images of earlier updates",
        recipe={},
    ),
    RecipeChoice(
        name="vit_b_32",
        words="default, for a ViT-B/32 or a model of its size",
        recipe={"preset": "vit_b_32"},
    ),
    RecipeChoice(
        name="vit_l_14_24gb",
        words="default, for a ViT-L/14 on 24 GiB",
        recipe={"preset": "vit_l_14_24gb"},
    ),
    *(
        RecipeChoice(name=method.value, words=f"{method.value}: {words}", recipe={"method": method})
        for method, words in {
            Method.VRLWF_FEATURES: "like the default, but stores no images of earlier updates",
            Method.VRLWF: "replays sentences alone, as published",
            Method.LWF: "Learning without Forgetting",
            Method.WISE: "fine-tunes and mixes the new weights with the old ones",
            Method.FT: "fine-tunes, and forgets most",
        }.items()
    ),
)


def recipe_of(name: str) -> Recipe:
    """Return the recipe that a choice names. Raises FieldInvalid."""
    for choice in CHOICES:
        if choice.name == name:
            return Recipe.from_json(choice.recipe)
    raise FieldInvalid("Choose one of the recipes.", pointer="/recipe")
