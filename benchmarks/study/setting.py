"""What one run trains with: a recipe, or a baseline that stands in for its method."""

from dataclasses import dataclass
from typing import Any

from core.domain.recipes.recipe import Method, Precision, Recipe
from core.errors import RecipeInvalid
from core.learning.methods.catalogue import MakeMethod, method_of


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A recipe with its seed; `compared` names one of benchmarks/baselines, or is empty."""

    recipe: Recipe
    compared: str = ""

    @property
    def make_method(self) -> MakeMethod:
        """The method's class."""
        return _baselines()[self.compared].make if self.compared else method_of

    @property
    def reads_reference(self) -> bool:
        """Whether the study's reference set is part of the task."""
        return (
            _baselines()[self.compared].remembers
            if self.compared
            else self.recipe.method is Method.ZSCL
        )

    @property
    def chooses(self) -> bool:
        """Whether training looks at validation parts."""
        return not self.compared and self.recipe.method is Method.WISE

    def facts(self) -> dict[str, Any]:
        """What names it, as JSON."""
        named = {"compared": self.compared} if self.compared else {}
        return {"recipe": self.recipe.to_json(), **named}


def setting_of(values: dict[str, Any], compared: str) -> Setting:
    """The setting of a row's values; a baseline's own come below. Raises RecipeInvalid.

    Runs are compared across machines, so none leaves its precision to the machine: it is fp32
    where the values name none.
    """
    below = dict(_baselines()[compared].recipe) if compared else {}
    recipe = Recipe.from_json({"precision": Precision.FP32, **below, **values})
    if recipe.precision is Precision.AUTO:
        raise RecipeInvalid(
            "A study compares runs, so precision must be fp32, bf16 or fp16 and not 'auto'.",
            pointer="/recipe/precision",
        )
    return Setting(recipe=recipe, compared=compared)


def is_baseline(name: str) -> bool:
    """Whether benchmarks/baselines has it."""
    return name in _baselines()


def _baselines() -> Any:
    from benchmarks.baselines.catalogue import BASELINES  # most studies compare none

    return BASELINES
