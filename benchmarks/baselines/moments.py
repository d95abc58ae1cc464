"""Incremental moment matching by the mode: weights mixed in proportion to Fisher information."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.baselines.baseline import FineTuning
from core.datasets.manifests import ManifestEntry
from core.learning.data import TrainingImages
from core.learning.losses import logits
from core.learning.methods import TrainingStart
from core.learning.mixing import TrainingEnd, mix, snapshot
from core.learning.vocabulary import Columns, generator_of
from core.recipes.rules import Recipe, distinct
from core.values import Json

FLOOR = 1e-3  # lower bound of F, as a share of its mean over all elements of both models


def fisher(
    log_probabilities: Callable[[Tensor], Tensor],
    parameters: Mapping[str, Tensor],
    groups: Iterable[Tensor],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return F = mean over images of (∂ ln p(ŷ|x) / ∂θ)², with ŷ drawn from p(·|x).

    `log_probabilities` returns (images, classes) for a group of images. With groups of one image
    this is exact for the drawn ŷ. With larger groups, the square of a group's summed gradient
    replaces the sum of squares, for one backward pass per group: as ŷ is drawn from the model,
    gradients of different images are independent with mean 0, so their products have mean 0 and
    F's expectation is the same.
    """
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    images = 0
    for group in groups:
        scores = log_probabilities(group)
        drawn = torch.multinomial(scores.detach().exp().cpu(), 1, generator=generator)
        likelihood = scores.gather(1, drawn.to(scores.device)).sum()
        gradients = torch.autograd.grad(
            likelihood, list(parameters.values()), materialize_grads=True
        )
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total.addcmul_(gradient, gradient)
        images += len(group)
    return {name: total / images for name, total in sums.items()}


def merge(
    new: Mapping[str, Tensor],
    old: Mapping[str, Tensor],
    sharpness: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    share: float,
) -> dict[str, Tensor]:
    """Return θ = (a F_n θ_n + (1 − a) F_o θ_o) / (a F_n + (1 − a) F_o), element by element.

    `share` is a, `sharpness` is F_n and F_o. Both are at least FLOOR times the mean of all their
    elements, so a weight on which neither model's output depends is the plain weighted mean.
    """
    sharp_new, sharp_old = sharpness
    floor = FLOOR * torch.cat([F.flatten() for side in sharpness for F in side.values()]).mean()
    merged = {}
    for name, value in new.items():
        weight_new = share * sharp_new[name].maximum(floor)
        weight_old = (1 - share) * sharp_old[name].maximum(floor)
        merged[name] = old[name].lerp(value, weight_new / (weight_new + weight_old))
    return merged


IMAGES = 1000

GROUP = 8


class ModeImm(FineTuning):
    """`imm_mode`: fine-tune, then θ = (a F_n θ_n + (1 − a) F_o θ_o) / (a F_n + (1 − a) F_o).

    a is the recipe's `mixing`; θ_o is the parent's or the root's, as the recipe's teacher says.
    Each model's F is measured on what it has learned: the new one's on the update's images and
    classes; the old one's on exemplars of earlier updates and on the reference set, over the
    classes learned before and the suites' (without any, the update's own). Without any such image
    the old model has no F: the mean is then plain, and the notes say "old": 0.

    Source: mode-IMM (Lee et al., 1703.08475).

    For each model, at most `images` images are read in groups of `group`; each group costs a
    forward and backward pass over its images and all class prompts. For the bundled model and
    1,000 images that is 10 s of one core with 20 classes and 16 s with 100; with groups of one
    image, 40 s with 20 classes.
    """

    def __init__(
        self, recipe: Recipe, columns: Columns, *, images: int = IMAGES, group: int = GROUP
    ) -> None:
        super().__init__(recipe, columns)
        self._images = images
        self._group = group

    def prepare(self, beginning: TrainingStart) -> None:
        """Keep the training spec, whose images are read at the end."""
        self._beginning = beginning

    def conclude(self, ending: TrainingEnd) -> Json:
        """Mix the weights; return the number of images that each model's F was measured on."""
        spec = self._beginning.spec
        learned = {name.lower() for name in spec.learned}
        kept = [e for e in spec.exemplars if e.class_name.lower() in learned]
        taught, remembered = self._sample(spec.images), self._sample((*kept, *spec.reference))
        new, anchor = snapshot(ending.parameters), ending.anchor()
        old = {name: anchor[name].detach() for name in new}
        if not remembered:
            mix(ending.parameters, new, old, self.recipe.mixing)
            return {"fisher_images": {"new": 0, "old": 0}}
        sharp_new = self._fisher(ending, taught, self.columns.names[: self.columns.competing])
        mix(ending.parameters, new, old, 0)
        known = distinct((*spec.learned, *spec.open_classes)) or self.columns.names
        sharp_old = self._fisher(ending, remembered, known)
        merged = merge(new, old, (sharp_new, sharp_old), self.recipe.mixing)
        mix(ending.parameters, merged, old, 1)
        return {"fisher_images": {"new": len(taught), "old": len(remembered)}}

    def _sample(self, entries: Sequence[ManifestEntry]) -> list[ManifestEntry]:
        generator = generator_of("fisher images", self.recipe.seed)
        order = torch.randperm(len(entries), generator=generator)[: self._images]
        return [entries[index] for index in order.tolist()]

    def _fisher(
        self, ending: TrainingEnd, entries: Sequence[ManifestEntry], classes: Sequence[str]
    ) -> dict[str, Tensor]:
        """Return F of the student's current weights, in fp32 on images without augmentation."""
        student = self._beginning.models.student
        prompts = student.tokenise(self._beginning.spec.prompt.fill_all(classes))

        def log_probabilities(pixels: Tensor) -> Tensor:
            images, texts = student.encode_images(pixels), student.encode_tokens(prompts)
            return logits(images, texts, student.scale).log_softmax(dim=1)

        generator = generator_of("fisher", self.recipe.seed)
        return fisher(log_probabilities, ending.parameters, self._read(entries), generator)

    def _read(self, entries: Sequence[ManifestEntry]) -> Iterator[Tensor]:
        images = TrainingImages(
            entries,
            self._beginning.artifacts,
            self._beginning.models.student.preprocess,
            seed=self.recipe.seed,
            augment=False,
            cache_bytes=0,
        )
        for start in range(0, len(entries), self._group):
            stop = min(start + self._group, len(entries))
            yield images.batch([(index, 0) for index in range(start, stop)])
