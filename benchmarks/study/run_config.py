"""The configuration of one run: a recipe, or a baseline in place of its method."""

from dataclasses import dataclass
from typing import Any

from core.domain.recipes.choices import LossTerm, Precision
from core.domain.recipes.recipe import Recipe
from core.errors import RecipeInvalid
from core.learning.methods.method import LearningMethod, MakeMethod


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A recipe with its seed; `compared` is one of benchmarks/baselines, or empty."""

    recipe: Recipe
    compared: str = ""

    @property
    def make_method(self) -> MakeMethod:
        """The factory of the method."""
        return _baselines()[self.compared].make if self.compared else LearningMethod

    @property
    def reads_reference(self) -> bool:
        """Whether the study's reference set is part of the training spec."""
        return (
            _baselines()[self.compared].remembers
            if self.compared
            else LossTerm.REFERENCE in self.recipe.terms
        )

    @property
    def chooses(self) -> bool:
        """Whether training chooses by validation parts."""
        return not self.compared and self.recipe.mixing_choice.uses_validation

    def facts(self) -> dict[str, Any]:
        """Return what identifies the run configuration, as JSON."""
        named = {"compared": self.compared} if self.compared else {}
        return {"recipe": self.recipe.to_json(), **named}


def run_config_of(values: dict[str, Any], compared: str) -> RunConfig:
    """Make a run configuration from a row's values, which override the baseline's.

    Raises RecipeInvalid.

    Runs are compared across machines, so precision `auto` is invalid and the default is fp32.
    """
    defaults = dict(_baselines()[compared].recipe) if compared else {}
    recipe = Recipe.from_json({"precision": Precision.FP32, **defaults, **values})
    if recipe.precision is Precision.AUTO:
        raise RecipeInvalid(
            "A study compares runs, so precision must be fp32, bf16 or fp16 and not 'auto'.",
            pointer="/recipe/precision",
        )
    return RunConfig(recipe=recipe, compared=compared)


def is_baseline(name: str) -> bool:
    """Return whether benchmarks/baselines has a baseline of this name."""
    return name in _baselines()


def _baselines() -> Any:
    from benchmarks.baselines.catalogue import BASELINES  # imported on demand: few studies use them

    return BASELINES
