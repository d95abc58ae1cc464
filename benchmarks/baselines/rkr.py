"""Rectification-based knowledge retention (RKR)."""

from torch.nn.utils import parametrize

from benchmarks.baselines.fine_tuning import FineTuning
from benchmarks.baselines.rectification import Rectification, linear_weights
from core.domain.values import Json
from core.learning.data.vocabulary import generator_of
from core.learning.methods.method import TrainingStart
from core.learning.methods.weight_mixing import TrainingEnd

RANK = 4


class Rkr(FineTuning):
    """`rkr`: L = L_ce, which trains a rectification (A, B, s) of each linear weight and no more.

        W' = (1 + s) ⊙ (W + A B)

    All other tensors of the trained part, the logit scale included, stay as they are. The update
    publishes W' in place of W, so the next update rectifies the weights of this one. The original
    keeps W and selects each task's rectification by the task's identity. Here an image's session is
    unknown and one model classifies among all classes, as in the code released with VR-LwF.

    That code trains the same A, B and s in all sessions, with dropout on A B, and only in the
    linear layers of the transformer blocks. The original rectifies convolutions too, as this class
    does. Both scale a layer's whole output, where this class leaves the bias unscaled. The default
    rate is ten times that of other methods, as in the released code.

    Source: RKR (Singh et al., Rectification-based Knowledge Retention for Continual Learning,
    2021).
    """

    def prepare(self, beginning: TrainingStart) -> None:
        """Freeze the model, and train rectifications in place of its parameters."""
        network, parameters = beginning.models.student.network, beginning.models.parameters
        frozen = dict(parameters)
        parameters.clear()
        self._rectified = []
        for parameter in frozen.values():
            parameter.requires_grad_(False)
        for name, layer, leaf, transposed in linear_weights(network, frozen):
            generator = generator_of("rectification", name, self.recipe.seed)
            rectification = Rectification(frozen[name], generator, rank=RANK, transposed=transposed)
            parametrize.register_parametrization(layer, leaf, rectification)
            parameters.update(rectification.named_parameters(prefix=name))
            self._rectified.append((layer, leaf))

    def conclude(self, ending: TrainingEnd) -> Json:
        """Replace each weight by its rectified value; return the number of weights."""
        del ending
        for layer, leaf in self._rectified:
            parametrize.remove_parametrizations(layer, leaf, leave_parametrized=True)
        return {"rectified": len(self._rectified)}
