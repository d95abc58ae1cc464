"""Distillation along geodesics: what a batch's features span may turn, but not far."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.baselines.geodesic import geodesic_distance
from core.domain.values import Json
from core.errors import ModelNotTrainable, TrainingDiverged
from core.learning.features import Batch, Features
from core.learning.methods.distilling import FineTuning
from core.learning.methods.method import TrainingEnd, TrainingStart
from core.learning.methods.terms import Term

MOST_FAILURES = 10  # of one term's SVD in an update, before it is given up


class GeoDl(FineTuning):
    """`geodl`: L = L_ce + α' (L_g(I, I') + L_g(T, T')), T over the classes seen.

    L_g is the geodesic distance of a batch's features (see geodesic.py); α' is `lwf_weight`.
    Features have length one, as GeoDL's released code makes them before it takes subspaces.
    The recipe's method is `lwf`, so that all classes seen have a column.

    An SVD that does not converge leaves its term out of that one step; how often is in the
    notes, and more than MOST_FAILURES times stops the update. (The code released with VR-LwF
    then falls back on fine-tuning and says nothing.)

    Source: GeoDL (Simon et al., On Learning the Geodesic Path for Incremental Learning, 2021).
    """

    def prepare(self, beginning: TrainingStart) -> None:
        """Count failures from here on. Raises ModelNotTrainable."""
        del beginning
        if self.recipe.micro_batch:
            raise ModelNotTrainable(
                "geodl looks at what a whole batch spans: read it whole.",
                pointer="/recipe/micro_batch",
            )
        self._failures = {"geo_i": 0, "geo_t": 0}

    def terms(self) -> tuple[Term, ...]:
        """L_ce and the distances of images and of class prompts."""
        seen = list(self.columns.seen)
        images = self._distance("geo_i", lambda features: features.images)
        classes = self._distance("geo_t", lambda features: features.classes[seen])
        return (*super().terms(), images, classes)

    def conclude(self, ending: TrainingEnd) -> Json:
        """How often each term's SVD failed since training began or resumed."""
        del ending
        return {"svd_failures": dict(self._failures)}

    def _distance(self, name: str, rows: Callable[[Features], Tensor]) -> Term:
        def loss(batch: Batch) -> Tensor:
            new = rows(batch.student)
            found = [self._guarded(name, new, rows(teacher)) for teacher in batch.teachers]
            return torch.stack(found).mean()

        return Term(name=name, weight=self.recipe.lwf_weight, loss=loss)

    def _guarded(self, name: str, new: Tensor, old: Tensor) -> Tensor:
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
