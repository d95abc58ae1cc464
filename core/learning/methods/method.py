"""What a learning method is: terms of a loss, and what it does around the steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from core.domain.recipes.recipe import Recipe
from core.domain.values import Json
from core.learning.columns import Columns
from core.learning.methods.terms import Term
from core.learning.models import Models
from core.ports import Artifacts, TrainingSpec


@dataclass(frozen=True, kw_only=True)
class TrainingStart:
    """An update before its first step."""

    spec: TrainingSpec
    models: Models
    artifacts: Artifacts


@dataclass(frozen=True, kw_only=True)
class TrainingEnd:
    """An update after its last step."""

    parameters: Mapping[str, nn.Parameter]  # those of the student that train
    anchor: Callable[[], Mapping[str, Tensor]]  # reads what the new weights are mixed with
    score: Callable[[], tuple[float, float]]  # the student's accuracy: new classes, kept suites


class LearningMethod:
    """One way to learn from a recipe. Each subclass says which terms it has.

    Source and formula stand with each subclass.
    """

    def __init__(self, recipe: Recipe, columns: Columns) -> None:
        self.recipe = recipe
        self.columns = columns

    def terms(self) -> tuple[Term, ...]:
        """The terms on each batch of the update's images."""
        raise NotImplementedError

    def reference_terms(self) -> tuple[Term, ...]:
        """The terms on each batch of a reference set."""
        return ()

    @property
    def replays_vocabulary(self) -> bool:
        """Whether the terms read random sentences."""
        return False

    @property
    def distils(self) -> bool:
        """Whether any term looks at a teacher."""
        return self.distils_batches or any(term.distils for term in self.reference_terms())

    @property
    def distils_batches(self) -> bool:
        """Whether any term on the update's own images does."""
        return any(term.distils for term in self.terms())

    @property
    def scores(self) -> bool:
        """Whether it chooses by validation parts after the last step."""
        return False

    def prepare(self, beginning: TrainingStart) -> None:
        """Keep or read what the steps will need; an update that resumes begins here as well."""

    def adjust(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """Change gradients between the backward pass and a step; its number counts from 0.

        In fp16 they are still multiplied by the loss scale.
        """

    def conclude(self, ending: TrainingEnd) -> Json:
        """Change the weights after the last step; what was chosen by itself, for the record."""
        del ending
        return {}
