"""The base class of learning methods: the terms of a loss, and hooks around the steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from core.domain.recipes.recipe import Recipe
from core.domain.values import Json
from core.learning.logit_columns import Columns
from core.learning.methods.terms import Term
from core.learning.models import Models
from core.ports import Artifacts, TrainingSpec


@dataclass(frozen=True, kw_only=True)
class TrainingStart:
    """A training run before its first step."""

    spec: TrainingSpec
    models: Models
    artifacts: Artifacts


@dataclass(frozen=True, kw_only=True)
class TrainingEnd:
    """A training run after its last step."""

    parameters: Mapping[str, nn.Parameter]  # the student's trained parameters
    anchor: Callable[[], Mapping[str, Tensor]]  # loads the weights to mix the new ones with
    score: Callable[[], tuple[float, float]]  # the student's accuracy: new classes, suites


class LearningMethod:
    """A learning method with its recipe.

    Each subclass defines its terms and documents its formula and source.
    """

    def __init__(self, recipe: Recipe, columns: Columns) -> None:
        self.recipe = recipe
        self.columns = columns

    def terms(self) -> tuple[Term, ...]:
        """Return the terms on each batch of the update's images."""
        raise NotImplementedError

    def reference_terms(self) -> tuple[Term, ...]:
        """Return the terms on each batch of the reference set."""
        return ()

    @property
    def replays_vocabulary(self) -> bool:
        """Whether the terms use random sentences."""
        return False

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
        return False

    def prepare(self, beginning: TrainingStart) -> None:
        """Prepare for the steps; called before the first step and before resuming."""

    def adjust(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """Change the gradients between the backward pass and step `step`, counted from 0.

        In fp16 the gradients are still multiplied by the loss scale.
        """

    def conclude(self, ending: TrainingEnd) -> Json:
        """Change the weights after the last step; return the method's choices, for the record."""
        del ending
        return {}
