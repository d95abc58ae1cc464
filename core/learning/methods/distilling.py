"""Methods that change the loss."""

from core.learning.methods import terms
from core.learning.methods.method import LearningMethod
from core.learning.methods.terms import Term


class FineTuning(LearningMethod):
    """`ft`: L = L_ce. The most plastic, and what the others are compared with."""

    def terms(self) -> tuple[Term, ...]:
        """L_ce."""
        return (terms.cross_entropy(self.columns),)


class Lwf(LearningMethod):
    """`lwf`: L = L_ce + α' L_lwf, from the first session on.

    Source: Learning without Forgetting (Li and Hoiem, 1606.09282), on CLIP's class logits.
    """

    def terms(self) -> tuple[Term, ...]:
        """L_ce and L_lwf."""
        distillation = terms.class_distillation(self.recipe, self.columns)
        return (terms.cross_entropy(self.columns), distillation)


class VrLwf(LearningMethod):
    """`vrlwf`: L = L_ce + α L_vr, and + α' L_lwf once classes were learned before.

    Source: Don't Stop Learning (Ding et al., 2207.09248).
    """

    @property
    def replays_vocabulary(self) -> bool:
        """It is what the method is about."""
        return True

    def terms(self) -> tuple[Term, ...]:
        """L_ce, L_vr and, later, L_lwf."""
        found = [terms.cross_entropy(self.columns), terms.vocabulary_replay(self.recipe)]
        if self.columns.continues:
            found.append(terms.class_distillation(self.recipe, self.columns))
        return tuple(found)


class CrossedVrLwf(VrLwf):
    """`vrlwf_cross`: VR-LwF + β L_cross, so that new vectors stay comparable with old ones."""

    def terms(self) -> tuple[Term, ...]:
        """VR-LwF's terms and L_cross."""
        return (*super().terms(), terms.vocabulary_crossing(self.recipe))


class Zscl(FineTuning):
    """`zscl`: L = L_ce + γ (image loss + text loss) on a reference set of images and texts.

    Source: ZSCL (Zheng et al., 2303.06628). The paper's teacher is the root, its temperature 2,
    and it saves the running mean of the weights: recipe fields, and the preset `zscl`.
    """

    def reference_terms(self) -> tuple[Term, ...]:
        """The image loss and the text loss."""
        return (terms.reference_images(self.recipe), terms.reference_texts(self.recipe))


class ExemplarReplay(FineTuning):
    """`replay`: L_ce over all classes seen, on batches that hold exemplars of earlier updates.

    Source: iCaRL's exemplar sets (Rebuffi et al., 1611.07725). Without earlier updates it is
    fine-tuning over the classes seen.
    """
