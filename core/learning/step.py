"""One step: its loss and gradients, averages of the weights, and checkpoints."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import uuid4

import torch
from torch import Tensor, nn

from core.artifacts.store import Artifacts, BytesCallback, ignore_bytes
from core.errors import ArtifactCorrupt, ArtifactMissing, StopRequested, StorageFull
from core.jobs.rules import Monitor
from core.learning.methods import LearningMethod, Term, total
from core.learning.mixing import snapshot
from core.learning.parts import EncodedParts
from core.learning.student import Batch, CachedFeatures, Features, Models, Texts
from core.learning.vocabulary import NO_CLASS
from core.recipes.fields import Averaging, ModelPart
from core.recipes.rules import Recipe
from core.values import Digest


@dataclass(frozen=True, kw_only=True)
class StepData:
    """The images of one step, or one rank's share of them."""

    indices: Tensor  # (images,) among all images
    pixels: Tensor  # uint8 (images, 3, height, width); none if all features are known
    target: Tensor  # (images,) of column indices, NO_CLASS where an image is captioned
    captions: Tensor  # token ids (captions, context), one of each image; none with classes alone
    fits: Tensor  # bool (images, captions): which caption fits which image
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
            captions=change(self.captions),
            fits=change(self.fits),
            reference=change(self.reference),
        )


@dataclass(frozen=True, kw_only=True)
class LossGradients:
    """Computes a method's loss and accumulates its gradients on the student's parameters.

    Splitting a batch into parts of `micro_batch` images does not change the result. The loss on
    classes is a mean over images, and the text tower runs once for the whole batch; the features
    that the loss on captions compares are cached.
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
        captions = len(data.captions) > 0
        for start in range(0, count, count if captions else size):
            part = slice(start, start + (count if captions else size))
            known = self.known.of(data.indices[part]) if self.known else None
            encoded = None
            if captions:
                encoded, known = self._cached(data.pixels, known)
            batch = self.models.batch(
                data.pixels[part],
                data.target[part],
                texts,
                known,
                fits=data.fits,
                distils=self.method.distils_batches,
            )
            weight = data.share * len(batch.target) / count
            values, loss = _evaluate(terms, batch)
            scaler.scale(loss * weight).backward()  # type: ignore[no-untyped-call]
            if encoded is not None:
                encoded.backward()
            hits = self._hits(batch)
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

    def _cached(
        self, pixels: Tensor, known: CachedFeatures | None
    ) -> tuple[EncodedParts | None, CachedFeatures]:
        """Return the features of a whole batch, computed by parts, and the student's way back."""
        encoded, teachers = None, known.teachers if known else ()
        student = known.student if known else None
        parts = torch.split(pixels, self.micro_batch or max(1, len(pixels)))
        if student is None and known and known.below is not None:
            encoded = EncodedParts(self.models.from_below, known.below, self.micro_batch)
            student = encoded.features
        elif student is None and self.models.part is not ModelPart.TEXT:
            encoded = EncodedParts(self.models.student_images, pixels, self.micro_batch)
            student = encoded.features
        elif student is None:
            student = torch.cat([self.models.student_images(part) for part in parts])
        if self.method.distils_batches and not teachers:
            by_part = [self.models.teacher_images(part) for part in parts]
            teachers = tuple(torch.cat(rows) for rows in zip(*by_part, strict=True))
        return encoded, CachedFeatures(student=student, teachers=teachers)

    def _hits(self, batch: Batch) -> Tensor:
        hits = torch.zeros_like(batch.target, dtype=torch.bool)
        if self.competing:
            hits = batch.student.class_logits[:, : self.competing].argmax(dim=1) == batch.target
        if not self.method.columns.captions:
            return hits
        nearest = batch.student.caption_logits.argmax(dim=1, keepdim=True)
        found = batch.fits.gather(1, nearest).squeeze(1)
        return torch.where(batch.target == NO_CLASS, found, hits)

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
            fits=torch.empty(0, 0),
        )


def _evaluate(terms: Sequence[Term], batch: Batch) -> tuple[Tensor, Tensor]:
    values = [term.loss(batch) for term in terms]
    return torch.stack(values).detach(), total(terms, values)


def _reference_features(images: Tensor, texts: Tensor, scale: Tensor) -> Features:
    none = texts[:0]
    return Features(images=images, classes=texts, captions=none, sentences=none, scale=scale)


# Averages of the weights over training, which are less noisy than the last step's weights.


class AveragedWeights:
    """The recipe's weight average, sampled every `averaging_every` steps.

    The initial weights are the first sample.

    `ema`: θ̄ ← m θ̄ + (1 − m) θ. `running`: the plain mean of all samples (ZSCL's ensemble).
    """

    def __init__(self, recipe: Recipe, parameters: Mapping[str, nn.Parameter]) -> None:
        self._recipe = recipe
        self._parameters = parameters
        self._samples = 1
        self._mean = snapshot(parameters) if recipe.averaging is not Averaging.NONE else {}

    @torch.no_grad()
    def sample(self, step: int) -> None:
        """Add the weights after `step` steps to the average, if a sample is due."""
        if not self._mean or step % self._recipe.averaging_every:
            return
        self._samples += 1
        ema = self._recipe.averaging is Averaging.EMA
        share = 1 - self._recipe.averaging_decay if ema else 1 / self._samples
        for name, parameter in self._parameters.items():
            self._mean[name].lerp_(parameter, share)

    @torch.no_grad()
    def apply(self) -> None:
        """Set the parameters to their average."""
        for name, value in self._mean.items():
            self._parameters[name].copy_(value)

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` needs."""
        return {"samples": self._samples, "mean": self._mean}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state` returned."""
        self._samples = state["samples"]
        for name, value in state["mean"].items():
            self._mean[name].copy_(value)


# Checkpoints: the state of a training run as one artifact.

Environments = tuple[Mapping[str, str], ...]  # in order, the current one last

FORMAT = 2  # raised when a state's content or meaning changes: older states are then ignored


def to_bytes(state: dict[str, Any]) -> bytes:
    """Serialise a state of tensors, numbers and strings."""
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """Return the state that `to_bytes` wrote, on the CPU; pickled code is rejected."""
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def read_checkpoint(
    artifacts: Artifacts, digest: Digest | None, moved: BytesCallback = ignore_bytes
) -> dict[str, Any] | None:
    """Return a stored state, or None if there is no usable one.

    A checkpoint is unusable if its bytes are missing or damaged, or its format is outdated.
    """
    if digest is None:
        return None
    try:
        state = from_bytes(artifacts.get(digest, moved))
    except (ArtifactMissing, ArtifactCorrupt):
        return None
    return state if state.get("format") == FORMAT else None


def environments_of(state: dict[str, Any]) -> Environments:
    """Return the environments in which a state's steps were taken."""
    return tuple(state["environments"])


class Checkpoints:
    """Keeps one job's newest checkpoint and deletes the previous one once the new one is recorded.

    Two models with equal updates go through equal states. Each checkpoint contains an id of this
    run, so that their digests differ and a job can delete its own.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        monitor: Monitor,
        *,
        newest: Digest | None,
        environments: Environments,
        weights_bytes: int = 0,
    ) -> None:
        """Continue after checkpoint `newest`, if there is one.

        `weights_bytes` is the size of the weights that will be published at the end.
        """
        self._artifacts = artifacts
        self._monitor = monitor
        self._newest = newest
        self._environments = environments
        self._weights_bytes = weights_bytes
        self._run = uuid4().hex

    def keep(self, state: dict[str, Any], step: int) -> None:
        """Store a checkpoint and record it as the job's newest.

        If the store has no room for the checkpoint, but still has room for the final weights,
        training continues without it. Raises StorageFull if there is room for neither, LeaseLost
        and StopRequested.
        """
        state = {**state, "environments": list(self._environments), "run": self._run}
        try:
            digest = self._artifacts.put(to_bytes(state), self._monitor.moved)
        except StorageFull as fault:
            if self._artifacts.free_bytes() < self._weights_bytes:
                raise
            self._monitor.skip_checkpoint(step, fault.facts)
            return
        try:
            self._monitor.save_checkpoint(digest, step)
        except StopRequested:  # raised after the checkpoint was recorded
            self._replace(digest)
            raise
        self._replace(digest)

    def _replace(self, digest: Digest) -> None:
        if self._newest not in {None, digest}:
            self._artifacts.delete(self._newest)
        self._newest = digest
