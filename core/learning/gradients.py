"""One step's loss and gradients, computed in micro-batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from core.learning.batch_features import Batch, Features
from core.learning.methods.method import LearningMethod
from core.learning.methods.terms import Term, total
from core.learning.student_and_teachers import CachedFeatures, Models, Texts


@dataclass(frozen=True, kw_only=True)
class StepData:
    """The images of one step, or one rank's share of them."""

    indices: Tensor  # (images,) among all images
    pixels: Tensor  # uint8 (images, 3, height, width); none if all features are known
    target: Tensor  # (images,) of column indices
    share: float  # of the whole batch: 1 for one rank
    reference: Tensor  # uint8 (reference images, 3, height, width)

    def pin_memory(self) -> Self:
        """Return a copy in page-locked memory, from which copies to a GPU are asynchronous."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """Return a copy on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(
            self,
            indices=change(self.indices),
            pixels=change(self.pixels),
            target=change(self.target),
            reference=change(self.reference),
        )


@dataclass(frozen=True, kw_only=True)
class LossGradients:
    """Computes a method's loss and accumulates its gradients on the student's parameters.

    Splitting a batch into parts of `micro_batch` images does not change the result: the loss is
    a mean over images, and the text tower runs once for the whole batch.
    """

    method: LearningMethod
    models: Models
    competing: int
    micro_batch: int  # 0: all images at once
    reference_texts: tuple[Tensor, ...] = ()  # E' of each teacher: (texts, width)
    reference_weight: float = 1.0  # each rank's share of the reference loss: all read all of it
    known: CachedFeatures | None = None

    def backward(self, data: StepData, texts: Texts, scaler: torch.amp.GradScaler) -> Tensor:
        """Accumulate a step's gradients; return the unweighted terms, the loss and the accuracy.

        The result is (terms + 2,), in the order of `names`.
        """
        terms, late = self.method.terms(), self.method.reference_terms()
        sums = torch.zeros(len(terms) + len(late) + 2, device=data.target.device)
        count = len(data.target)
        size = self.micro_batch or max(1, count)  # a rank's share of a small batch may be empty
        for start in range(0, count, size):
            part = slice(start, start + size)
            batch = self.models.batch(
                data.pixels[part],
                data.target[part],
                texts,
                self.known.of(data.indices[part]) if self.known else None,
                distils=self.method.distils_batches,
            )
            weight = data.share * len(batch.target) / count
            values, loss = _evaluate(terms, batch)
            scaler.scale(loss * weight).backward()  # type: ignore[no-untyped-call]
            hits = batch.student.class_logits[:, : self.competing].argmax(dim=1) == batch.target
            sums[: len(terms)] += weight * values
            sums[-2:] += weight * torch.stack([loss.detach(), hits.float().mean()])
        texts.backward()
        if late:
            values, loss = _evaluate(late, self._reference(data.reference))
            scaler.scale(loss * self.reference_weight).backward()  # type: ignore[no-untyped-call]
            sums[len(terms) : -2] = self.reference_weight * values
            sums[-2] += self.reference_weight * loss.detach()
        return sums

    @property
    def names(self) -> list[str]:
        """The names of the values that `backward` returns, in order."""
        terms = (*self.method.terms(), *self.method.reference_terms())
        return [term.name for term in terms] + ["loss", "accuracy"]

    def _reference(self, pixels: Tensor) -> Batch:
        """Return a batch of reference images, with reference texts in place of class prompts."""
        images = self.models.student_images(pixels)
        old = self.models.teacher_images(pixels)
        texts, scale = self.reference_texts, self.models.student.scale
        teachers = tuple(
            _reference_features(rows, text, scale) for rows, text in zip(old, texts, strict=True)
        )
        return Batch(
            student=_reference_features(images, texts[0], scale),
            teachers=teachers,
            target=torch.empty(0),
        )


def _evaluate(terms: Sequence[Term], batch: Batch) -> tuple[Tensor, Tensor]:
    values = [term.loss(batch) for term in terms]
    return torch.stack(values).detach(), total(terms, values)


def _reference_features(images: Tensor, texts: Tensor, scale: Tensor) -> Features:
    return Features(images=images, classes=texts, sentences=texts[:0], scale=scale)
