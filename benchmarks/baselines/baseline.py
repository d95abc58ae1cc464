"""Methods that exist only for comparison, and plain fine-tuning, on which they build."""

from collections.abc import Callable
from dataclasses import dataclass, field

from core.learning import methods as terms
from core.learning.methods import LearningMethod, Term
from core.learning.mixing import TrainingEnd
from core.values import Json


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A method that exists only for comparison.

    The recipe's `method` decides which columns an update encodes, so each baseline sets the
    method with the same columns; `make` makes the baseline itself.
    """

    make: Callable[..., LearningMethod]  # of a recipe, its columns, and the options by name
    recipe: Json = field(default_factory=dict)  # defaults, which a row's own values override
    options: Json = field(default_factory=dict)  # what no recipe can name, likewise
    remembers: bool = False  # whether it uses the reference set
    validates: bool = False  # whether it reads validation parts


class FineTuning(LearningMethod):
    """L = L_ce, whatever terms and mixing the recipe chooses."""

    scores = False
    replays_vocabulary = False

    def terms(self) -> tuple[Term, ...]:
        """Return L_ce."""
        return (terms.cross_entropy(self.columns),)

    def reference_terms(self) -> tuple[Term, ...]:
        """Return no terms."""
        return ()

    def conclude(self, ending: TrainingEnd) -> Json:
        """Leave the weights as they are."""
        del ending
        return {}
