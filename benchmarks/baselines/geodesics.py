"""Distillation along geodesics between the subspaces that a batch's features span (GeoDL)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from benchmarks.baselines.baseline import FineTuning
from core.errors import ModelNotTrainable, TrainingDiverged
from core.learning.methods import Term, TrainingStart
from core.learning.mixing import TrainingEnd
from core.learning.student import Batch, Features
from core.values import Json

NEGLIGIBLE = 1e-6  # radians: below it μ₃ is its limit, 1/3


@dataclass(frozen=True, kw_only=True)
class GeodesicFlow:
    """The geodesic flow kernel G = ∫₀¹ Φ(ν) Φ(ν)ᵀ dν, in factors.

    Φ(ν) is a basis of the subspace at ν on the shortest path. With the principal vectors a_i
    of the first subspace, b_i of the second and θ_i between them, its columns are
    a_i cos νθ_i + o_i sin νθ_i, where o_i = r_i / sin θ_i and r_i = b_i − a_i cos θ_i. So

        G = Σ_i  λ₁ a aᵀ + μ₂ (a rᵀ + r aᵀ) + μ₃ r rᵀ
        λ₁ = ½ (1 + sin 2θ / 2θ)    μ₂ = ½ sin θ / θ    μ₃ = ½ (1 − sin 2θ / 2θ) / sin² θ

    which stays finite at θ = 0. Source: Gong et al., Geodesic flow kernel (CVPR 2012).
    """

    start: Tensor  # a: (width, size)
    turn: Tensor  # r: (width, size)
    angles: Tensor  # θ: (size,) in radians

    @classmethod
    def between(cls, first: Tensor, second: Tensor) -> Self:
        """Compute the flow between two orthonormal bases (width, size). Raises LinAlgError."""
        left, cosines, right = torch.linalg.svd(first.T @ second)
        start, end = first @ left, second @ right.T
        turn = end - start * cosines
        return cls(start=start, turn=turn, angles=torch.atan2(turn.norm(dim=0), cosines))

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        """Return xᵀ G y for each pair of rows of `x` and `y`, both (rows, width)."""
        theta = self.angles
        double = torch.sinc(2 * theta / torch.pi)  # sin 2θ / 2θ
        mu = 0.5 * (1 - double) / theta.sin().square()
        mu = torch.where(theta < NEGLIGIBLE, 1 / 3, mu)
        xa, xr, ya, yr = x @ self.start, x @ self.turn, y @ self.start, y @ self.turn
        kernel = 0.5 * (1 + double) * xa * ya
        kernel = kernel + 0.5 * torch.sinc(theta / torch.pi) * (xa * yr + xr * ya)
        return (kernel + mu * xr * yr).sum(dim=1)


def subspace(rows: Tensor) -> Tensor:
    """Return the principal directions that some rows span, (width, size).

    `rows` are (rows, width), at least two. Raises LinAlgError.
    """
    size = min(len(rows) - 1, rows.shape[1])
    _, _, directions = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    basis: Tensor = directions[:size].T
    return basis


def geodesic_distance(new: Tensor, old: Tensor) -> Tensor:
    """Return the mean over rows of 1 − xᵀ G x' / √(xᵀ G x · x'ᵀ G x').

    x is a row of `new` and x' the same row of `old`, both (rows, width). G is the flow from the
    subspace of `old` to that of `new`. It is treated as constant, so the gradient passes through
    the rows alone and never through an SVD. A single row spans no subspace: its distance is 0.
    Raises LinAlgError. Source: GeoDL (Simon et al., CVPR 2021).
    """
    if len(new) < 2:
        return (new * 0).sum()
    x, y = new.double(), old.double()
    with torch.no_grad():
        flow = GeodesicFlow.between(subspace(y), subspace(x))
    tiny = torch.finfo(x.dtype).tiny
    lengths = (flow.product(x, x) * flow.product(y, y)).clamp(min=tiny).sqrt()
    return (1 - flow.product(x, y) / lengths).mean().to(new.dtype)


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
