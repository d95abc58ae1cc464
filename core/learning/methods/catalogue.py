"""The learning methods by the names that recipes use."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from core.domain.recipes.choices import Method
from core.domain.recipes.recipe import Recipe
from core.learning.logit_columns import Columns
from core.learning.methods.distilling import (
    CrossedVrLwf,
    ExemplarReplay,
    FineTuning,
    Lwf,
    VrLwf,
    Zscl,
)
from core.learning.methods.method import LearningMethod
from core.learning.methods.mixing import MeanImm, Wise

MakeMethod = Callable[[Recipe, Columns], LearningMethod]

METHODS: Mapping[Method, MakeMethod] = MappingProxyType(
    {
        Method.FT: FineTuning,
        Method.LWF: Lwf,
        Method.VRLWF: VrLwf,
        Method.VRLWF_CROSS: CrossedVrLwf,
        Method.IMM_MEAN: MeanImm,
        Method.WISE: Wise,
        Method.ZSCL: Zscl,
        Method.REPLAY: ExemplarReplay,
    }
)


def method_of(recipe: Recipe, columns: Columns) -> LearningMethod:
    """Return the method that a recipe names."""
    return METHODS[recipe.method](recipe, columns)
