"""Plain fine-tuning, on which the baselines build."""

from core.domain.values import Json
from core.learning.methods import terms
from core.learning.methods.method import LearningMethod
from core.learning.methods.terms import Term
from core.learning.methods.weight_mixing import TrainingEnd


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
