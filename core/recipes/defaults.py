"""The default recipe of a model: the fields that orders of its updates leave out."""

from dataclasses import dataclass

from core.errors import RecipeUnsafe
from core.recipes.presets import with_preset
from core.recipes.rules import Recipe
from core.values import Json

MOST_TIMES = 10  # the default's learning rate; a higher one must be forced

# What a default has chosen for its part: an order's own method or part takes the place of all. To
# do without exemplars is another method, which replays features.
_OF_A_PART = ("part", "augment", "epochs", "replay_weight")


@dataclass(frozen=True, kw_only=True)
class DefaultRecipe:
    """The fields in which a model's default differs from the general defaults, and their source."""

    name: str
    source: str
    fields: Json

    def merged(self, given: Json) -> Json:
        """Return the fields with those given, or those of the preset given. Raises RecipeInvalid.

        A preset takes the place of the default; and another method, another part or "no exemplars"
        that of the fields which the default has chosen for its part.
        """
        if "preset" in given:
            return with_preset(given)
        fields = dict(self.fields)
        if "part" in fields and self._gives_way(given):
            fields = {name: value for name, value in fields.items() if name not in _OF_A_PART}
        return {**fields, **given}

    def _gives_way(self, given: Json) -> bool:
        own = {"method": Recipe().method, **self.fields}
        ordered = {**own, **given}
        same = all(ordered[name] == own[name] for name in ("method", "part"))
        return not same or _stores_images(ordered) is not _stores_images(own)

    def complete(self, given: Json) -> Recipe:
        """Return the recipe of an order that gives some fields. Raises RecipeInvalid."""
        return Recipe.from_json(self.merged(given))

    def unsafe_reason(self, recipe: Recipe) -> str | None:
        """Return why a recipe's learning rate is too high for the model; None if it is not."""
        usual = self.complete({}).learning_rate
        if recipe.learning_rate <= MOST_TIMES * usual * (1 + 1e-9):  # as 10 * 3e-4 is not 3e-3
            return None
        return (
            f"The learning rate {recipe.learning_rate:g} is more than {MOST_TIMES} times the "
            f"model's default, {usual:g}: it may ruin what the model knows."
        )

    def require_safe(self, recipe: Recipe, *, pointer: str = "/recipe/learning_rate") -> None:
        """Raise RecipeUnsafe for a recipe whose learning rate is too high for the model."""
        if reason := self.unsafe_reason(recipe):
            raise RecipeUnsafe(
                f'{reason} Give a lower one or none, or force it: "force": true, or --force.',
                pointer=pointer,
                learning_rate=recipe.learning_rate,
                default=self.complete({}).learning_rate,
            )


def _stores_images(fields: Json) -> bool:
    return fields.get("exemplars") not in (0, "none")  # a tuple, as a wrong value may be a list


def differing_fields(fields: Json) -> Json:
    """Return the fields of a recipe that differ from the general defaults. Raises RecipeInvalid."""
    general = Recipe().to_json()
    found = Recipe.from_json(fields).to_json()
    return {name: value for name, value in found.items() if value != general[name]}
