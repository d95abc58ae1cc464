"""Records predictions of trials."""

from collections.abc import Collection, Sequence
from functools import partial

from api.background_writer import BackgroundWriter
from core.domain.trials.prediction import Prediction
from core.domain.values import PredictionId
from core.ports import Platform
from core.use_cases.trials.record_predictions import Batch, ShadowAnswer, record_predictions

EVERY_S = 0.2
MAX_WAITING = 20_000  # entries, while the database does not respond


class TrialRecorder(BackgroundWriter[Batch]):
    """Records what versions answered during trials."""

    def __init__(self, platform: Platform) -> None:
        write = partial(record_predictions, platform)
        super().__init__("predictions of trials", write, every_s=EVERY_S, most=MAX_WAITING)

    def answered(self, predictions: Sequence[Prediction]) -> None:
        """Record predictions that went out."""
        self.add(Batch(predictions=list(predictions)))

    def shadowed(self, predictions: Collection[PredictionId], answer: ShadowAnswer) -> None:
        """Record what became of the question to a shadow about some images."""
        self.add(Batch(shadows=dict.fromkeys(predictions, answer)))
