"""Distillation along geodesics between the subspaces that a batch's features span (GeoDL)."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.baselines.fine_tuning import FineTuning
from benchmarks.baselines.geodesic_flow import geodesic_distance
from core.domain.values import Json
from core.errors import ModelNotTrainable, TrainingDiverged
from core.learning.batch_features import Batch, Features
from core.learning.methods.method import TrainingStart
from core.learning.methods.terms import Term
from core.learning.methods.weight_mixing import TrainingEnd

MOST_FAILURES = 10  # of one term's SVD in an update; one more stops it


class GeoDl(FineTuning):
    """`geodl`: L = L_ce + α' (L_g(I, I') + L_g(T, T')), T over the classes seen.

    L_g is the geodesic distance of a batch's features (see geodesic.py); α' is `lwf_weight`.
    Features are L2-normalised, as in GeoDL's released code before it computes subspaces. The
    recipe's method is `lwf`, so that all classes seen have a column.

    If an SVD does not converge, its term is left out of that one step. The notes count these
    failures, and more than MOST_FAILURES of one term stop the update. (The code released with
    VR-LwF silently falls back on fine-tuning in that case.)

    Source: GeoDL (Simon et al., On Learning the Geodesic Path for Incremental Learning, 2021).
    """

    def prepare(self, beginning: TrainingStart) -> None:
        """Start counting failures. Raises ModelNotTrainable for a recipe with micro-batches."""
        del beginning
        if self.recipe.micro_batch:
            raise ModelNotTrainable(
                "geodl looks at what a whole batch spans: read it whole.",
                pointer="/recipe/micro_batch",
            )
        self._failures = {"geo_i": 0, "geo_t": 0}

    def terms(self) -> tuple[Term, ...]:
        """Return L_ce and the distances of images and of class prompts."""
        seen = list(self.columns.seen)
        images = self._distance("geo_i", lambda features: features.images)
        classes = self._distance("geo_t", lambda features: features.classes[seen])
        return (*super().terms(), images, classes)

    def conclude(self, ending: TrainingEnd) -> Json:
        """Return how often each term's SVD has failed since training began or resumed."""
        del ending
        return {"svd_failures": dict(self._failures)}

    def _distance(self, name: str, rows: Callable[[Features], Tensor]) -> Term:
        def loss(batch: Batch) -> Tensor:
            new = rows(batch.student)
            found = [self._distance_or_zero(name, new, rows(teacher)) for teacher in batch.teachers]
            return torch.stack(found).mean()

        return Term(name=name, weight=self.recipe.lwf_weight, loss=loss)

    def _distance_or_zero(self, name: str, new: Tensor, old: Tensor) -> Tensor:
        try:
            return geodesic_distance(new, old)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            self._failures[name] += 1
            if self._failures[name] > MOST_FAILURES:
                raise TrainingDiverged(
                    f"The SVD of {name} has failed {self._failures[name]} times.",
                    failures=dict(self._failures),
                ) from error
            return (new * 0).sum()
