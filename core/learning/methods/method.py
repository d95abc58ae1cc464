"""The learning method of a recipe: the terms of its loss, and hooks around the steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from core.domain.recipes.choices import LossTerm, MixingChoice
from core.domain.recipes.recipe import Recipe
from core.domain.values import Json
from core.learning.class_columns import Columns
from core.learning.methods import terms
from core.learning.methods.layer_mixing import mix_per_layer
from core.learning.methods.terms import Term
from core.learning.methods.weight_mixing import TrainingEnd, mix_best, mix_fixed
from core.learning.student_and_teachers import Models
from core.ports import Artifacts, TrainingSpec


@dataclass(frozen=True, kw_only=True)
class TrainingStart:
    """A training run before its first step."""

    spec: TrainingSpec
    models: Models
    artifacts: Artifacts


class LearningMethod:
    """The terms of a recipe's loss, and its mixing after the last step.

    Subclasses change what no recipe can name, such as the baselines of a study.
    """

    def __init__(self, recipe: Recipe, columns: Columns) -> None:
        self.recipe = recipe
        self.columns = columns

    def terms(self) -> tuple[Term, ...]:
        """Return the terms on each batch of the update's images."""
        recipe, columns = self.recipe, self.columns
        found = [terms.cross_entropy(columns)]
        if LossTerm.VR in recipe.terms:
            found.append(terms.vocabulary_replay(recipe))
        if columns.distils:
            found.append(terms.class_distillation(recipe, columns))
        if LossTerm.CROSS in recipe.terms:
            found.append(terms.vocabulary_crossing(recipe))
        return tuple(found)

    def reference_terms(self) -> tuple[Term, ...]:
        """Return the terms on each batch of the reference set."""
        if LossTerm.REFERENCE not in self.recipe.terms:
            return ()
        return (terms.reference_images(self.recipe), terms.reference_texts(self.recipe))

    @property
    def replays_vocabulary(self) -> bool:
        """Whether the terms use random sentences."""
        return self.recipe.replays_vocabulary

    @property
    def distils(self) -> bool:
        """Whether any term uses a teacher."""
        return self.distils_batches or any(term.distils for term in self.reference_terms())

    @property
    def distils_batches(self) -> bool:
        """Whether any term on the update's own images uses a teacher."""
        return any(term.distils for term in self.terms())

    @property
    def scores(self) -> bool:
        """Whether `conclude` chooses by scores on validation parts."""
        return self.recipe.mixing_choice.uses_validation

    def prepare(self, beginning: TrainingStart) -> None:
        """Prepare for the steps; called before the first step and before resuming.

        What `models.parameters` holds afterwards is what training changes and checkpoints keep.
        """

    def adjust(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """Change the gradients between the backward pass and step `step`, counted from 0.

        In fp16 the gradients are still multiplied by the loss scale.
        """

    def conclude(self, ending: TrainingEnd) -> Json:
        """Change the weights after the last step; return what was chosen, for the record."""
        match self.recipe.mixing_choice:
            case MixingChoice.NONE:
                return {}
            case MixingChoice.FIXED:
                mix_fixed(ending, self.recipe.mixing)
                return {}
            case MixingChoice.VALIDATION:
                return mix_best(ending)
            case MixingChoice.PER_LAYER:
                return mix_per_layer(ending)


MakeMethod = Callable[[Recipe, Columns], LearningMethod]
