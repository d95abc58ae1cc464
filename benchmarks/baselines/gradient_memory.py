"""Averaged gradient episodic memory (A-GEM): no step against the gradient of a memory."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines.baseline import FineTuning
from core.datasets.manifests import ManifestEntry
from core.errors import ModelNotTrainable
from core.learning import losses
from core.learning.data import TrainingImages, choose_exemplars
from core.learning.methods import TrainingStart
from core.learning.mixing import TrainingEnd
from core.learning.vocabulary import generator_of
from core.recipes.fields import ExemplarChoice
from core.recipes.rules import distinct
from core.values import Json

EXEMPLARS = 1000


class Memory:
    """The memory of an update, with a loss on a random part of it.

    The loss on pairs of the reference set is the symmetric contrastive loss that CLIP is trained
    with. The loss on exemplars is the cross entropy over all classes seen; they are at most
    EXEMPLARS images of classes learned before, equally many of each and chosen at random. If
    there are both, the losses are added. Raises ModelNotTrainable when classes were learned
    before and there is neither.
    """

    def __init__(self, beginning: TrainingStart) -> None:
        spec, self._models = beginning.spec, beginning.models
        recipe, student = spec.recipe, self._models.student
        self._seed, self._batch = recipe.seed, recipe.exemplar_batch
        alone = min(self._batch, len(spec.reference)) < 2  # the loss of a single pair is always 0
        self._pairs = () if alone else spec.reference
        self._exemplars = _exemplars(beginning)
        if spec.learned and not self:
            raise ModelNotTrainable(
                "A-GEM needs a memory: a reference set of at least two pairs, or images of "
                "earlier updates.",
                pointer="/reference",
            )
        seen = distinct((*spec.learned, *spec.classes))
        self._prompts = student.tokenise(spec.prompt.fill_all(seen))
        position = {name.lower(): column for column, name in enumerate(seen)}
        self._target = torch.tensor([position[e.class_name.lower()] for e in self._exemplars])
        self._images = TrainingImages(
            (*self._pairs, *self._exemplars),
            beginning.artifacts,
            student.preprocess,
            seed=recipe.seed,
            augment=recipe.augment,
        )

    def __len__(self) -> int:
        """Return the number of images in the memory."""
        return len(self._pairs) + len(self._exemplars)

    def loss(self, step: int) -> Tensor:
        """Return L_r, a scalar; the seed and the step decide which part of the memory is read."""
        parts = []
        if self._pairs:
            parts.append(self._on_pairs(self._draw("pairs", len(self._pairs), step), step))
        if self._exemplars:
            chosen = self._draw("exemplars", len(self._exemplars), step)
            parts.append(self._on_exemplars(chosen, step))
        return torch.stack(parts).sum()

    def _on_pairs(self, chosen: Sequence[int], step: int) -> Tensor:
        student = self._models.student
        entries = [self._pairs[index] for index in chosen]
        texts = student.encode_texts([e.texts[step % len(e.texts)] for e in entries])
        return contrastive(self._read(chosen, step), texts, student.scale)

    def _on_exemplars(self, chosen: Sequence[int], step: int) -> Tensor:
        student = self._models.student
        images = self._read([len(self._pairs) + index for index in chosen], step)
        logits = losses.logits(images, student.encode_tokens(self._prompts), student.scale)
        return losses.cross_entropy(logits, self._target[list(chosen)].to(logits.device))

    def _read(self, indices: Sequence[int], step: int) -> Tensor:
        pixels = self._images.batch([(index, step) for index in indices])
        return self._models.student_images(pixels.to(self._models.student.device))

    def _draw(self, name: str, count: int, step: int) -> list[int]:
        generator = generator_of("memory", name, self._seed, step)
        drawn: list[int] = torch.randperm(count, generator=generator)[: self._batch].tolist()
        return drawn


def contrastive(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's loss, the mean cross entropy of matching images to texts and texts to images.

    `images` and `texts` are L2-normalised rows (pairs, width). Source: CLIP (Radford et al.,
    2103.00020).
    """
    logits = losses.logits(images, texts, scale)  # (pairs, pairs)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def _exemplars(beginning: TrainingStart) -> tuple[ManifestEntry, ...]:
    spec = beginning.spec
    learned = {name.lower() for name in spec.learned}
    candidates = [e for e in spec.exemplars if e.class_name.lower() in learned]
    return choose_exemplars(
        candidates,
        _never_called,
        count=EXEMPLARS,
        choice=ExemplarChoice.RANDOM,
        seed=spec.recipe.seed,
    )


def _never_called(entries: Sequence[ManifestEntry]) -> Tensor:
    raise NotImplementedError("a random choice needs no features")


class AGem(FineTuning):
    """`a_gem`: step along g, the gradient of L_ce, unless it conflicts with the memory's, g_r.

        g ← g − (g·g_r / g_r·g_r) g_r    where g·g_r < 0

    The gradients are those of the trained tensors, before clipping and Adam. g_r is the gradient
    of the memory's loss on `exemplar_batch` image-text pairs of the reference set and as many
    exemplars of earlier updates, drawn anew at every step (see Memory). A first update without a
    reference set has no memory and is plain fine-tuning.

    The projection depends only on the direction of g_r and is linear in g, so projecting a scaled
    fp16 gradient gives the scaled projection. Source: A-GEM (Chaudhry et al., 1812.00420). The
    code released with VR-LwF takes g_r from the current batch, so its memory is never used.
    """

    def prepare(self, beginning: TrainingStart) -> None:
        """Choose the memory. Raises ModelNotTrainable."""
        self._memory = Memory(beginning)
        self._steps = self._projected = 0

    def adjust(
        self, parameters: Mapping[str, nn.Parameter], step: int, again: Callable[[], object]
    ) -> None:
        """Project the gradients if they conflict with the memory's gradient."""
        del again
        self._steps += 1
        if not self._memory:
            return
        for parameter in parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        reference = torch.autograd.grad(
            self._memory.loss(step), list(parameters.values()), materialize_grads=True
        )
        own = [p.grad for p in parameters.values() if p.grad is not None]
        self._projected += project(own, reference)

    def conclude(self, ending: TrainingEnd) -> Json:
        """Return the memory's size, and the steps and projections since the start or resumption."""
        del ending
        return {
            "remembered": len(self._memory),
            "steps": self._steps,
            "projected": self._projected,
        }


@torch.no_grad()
def project(gradients: Sequence[Tensor], reference: Sequence[Tensor]) -> bool:
    """Remove from g, in place, the component opposed to g_r; return whether there was one."""
    along = _dot(gradients, reference)
    conflict = bool(along < 0)
    if conflict:
        share = along / _dot(reference, reference)
        for own, other in zip(gradients, reference, strict=True):
            own.sub_(share * other)
    return conflict


def _dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    pairs = zip(one, other, strict=True)
    return torch.stack([(a * b).sum(dtype=torch.float64) for a, b in pairs]).sum()
