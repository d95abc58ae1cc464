"""Methods that change the loss."""

from core.learning.methods import terms
from core.learning.methods.method import LearningMethod
from core.learning.methods.terms import Term


class FineTuning(LearningMethod):
    """`ft`: L = L_ce. The most plastic method, and the baseline of the others."""

    def terms(self) -> tuple[Term, ...]:
        """Return L_ce."""
        return (terms.cross_entropy(self.columns),)


class Lwf(LearningMethod):
    """`lwf`: L = L_ce + α' L_lwf, from the first update on.

    Source: Learning without Forgetting (Li and Hoiem, 1606.09282), on CLIP's class logits.
    """

    def terms(self) -> tuple[Term, ...]:
        """Return L_ce and L_lwf."""
        distillation = terms.class_distillation(self.recipe, self.columns)
        return (terms.cross_entropy(self.columns), distillation)


class VrLwf(LearningMethod):
    """`vrlwf`: L = L_ce + α L_vr, and + α' L_lwf once classes were learned before.

    Source: Don't Stop Learning (Ding et al., 2207.09248).
    """

    @property
    def replays_vocabulary(self) -> bool:
        """True: the method distils on random sentences."""
        return True

    def terms(self) -> tuple[Term, ...]:
        """Return L_ce and L_vr, and L_lwf if classes were learned before."""
        found = [terms.cross_entropy(self.columns), terms.vocabulary_replay(self.recipe)]
        if self.columns.continues:
            found.append(terms.class_distillation(self.recipe, self.columns))
        return tuple(found)


class CrossedVrLwf(VrLwf):
    """`vrlwf_cross`: VR-LwF + β L_cross, so that new vectors stay comparable with old ones."""

    def terms(self) -> tuple[Term, ...]:
        """Return VR-LwF's terms and L_cross."""
        return (*super().terms(), terms.vocabulary_crossing(self.recipe))


class Zscl(FineTuning):
    """`zscl`: L = L_ce + γ (image loss + text loss) on a reference set of images and texts.

    Source: ZSCL (Zheng et al., 2303.06628). The paper's teacher is the root, its temperature is
    2, and it publishes the running mean of the weights: the preset `zscl` sets these fields.
    """

    def reference_terms(self) -> tuple[Term, ...]:
        """Return the image loss and the text loss."""
        return (terms.reference_images(self.recipe), terms.reference_texts(self.recipe))


class ExemplarReplay(FineTuning):
    """`replay`: L_ce over all classes seen, on batches that hold exemplars of earlier updates.

    Without earlier updates it is fine-tuning over the classes seen. Source: iCaRL's exemplar
    sets (Rebuffi et al., 1611.07725).
    """
