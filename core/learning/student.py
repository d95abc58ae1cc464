"""The models of an update, and the features that they compute."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn

from core.clip.model import ClipModel
from core.clip.tops import encode_below, encode_top
from core.learning.losses import logits
from core.learning.optimisation import trained_parameters
from core.learning.parts import EncodedParts
from core.recipes.fields import MixingChoice, ModelPart, Precision, TeacherPolicy
from core.registry.image_tops import is_below_top
from core.training.trainer import TrainingSpec
from core.values import Digest

# The features that models compute from a batch.


@dataclass(frozen=True, kw_only=True)
class Features:
    """One model's features of a batch; every row is L2-normalised."""

    images: Tensor  # I: (images, width)
    classes: Tensor  # T: (columns, width)
    captions: Tensor  # C: (captions, width); a teacher's are not computed
    sentences: Tensor  # P: (sentences, width)
    scale: Tensor  # s: a scalar
    bias: Tensor | None = None  # b: a scalar, of models that a sigmoid of each pair has trained

    @cached_property
    def class_logits(self) -> Tensor:
        """Z = s I Tᵀ, (images, columns)."""
        return logits(self.images, self.classes, self.scale)

    @cached_property
    def caption_logits(self) -> Tensor:
        """K = s I Cᵀ, and b if there is one, (images, captions)."""
        found = logits(self.images, self.captions, self.scale)
        return found if self.bias is None else found + self.bias

    @cached_property
    def sentence_logits(self) -> Tensor:
        """V = s I Pᵀ, (images, sentences)."""
        return logits(self.images, self.sentences, self.scale)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The input of a loss: the student's and each teacher's features of the same batch."""

    student: Features
    teachers: tuple[Features, ...]  # without gradient
    target: Tensor  # (images,) of column indices, NO_CLASS where an image is captioned
    fits: Tensor  # bool (images, captions): which caption fits which image; none with classes alone


# The frozen teachers of an update, which share the student's frozen tensors.


def load_teachers(
    spec: TrainingSpec,
    parent: ClipModel,
    parameters: Mapping[str, nn.Parameter],
    load: Callable[[Digest], ClipModel],
) -> dict[Digest, ClipModel]:
    """Return the recipe's teachers by version digest; a first update's parent is the root."""
    wanted = {
        TeacherPolicy.PARENT: (spec.parent,),
        TeacherPolicy.ROOT: (spec.root,),
        TeacherPolicy.BOTH: (spec.parent, spec.root),
    }[spec.recipe.teacher]
    trained = {id(parameter) for parameter in parameters.values()}
    shared = {id(p): p for p in parent.network.parameters() if id(p) not in trained}
    found: dict[Digest, ClipModel] = {}
    for digest in dict.fromkeys(wanted):
        if digest == spec.parent:
            network = copy.deepcopy(parent.network, dict(shared))
            found[digest] = ClipModel(network=network, config=parent.config)
        else:
            found[digest] = _share_frozen(load(digest).freeze(), parent, shared)
    return found


def _share_frozen(
    model: ClipModel, parent: ClipModel, shared: Mapping[int, nn.Parameter]
) -> ClipModel:
    """Replace a model's tensors by the parent's frozen ones with the same values."""
    own = dict(model.network.named_parameters())
    for name, parameter in parent.network.named_parameters():
        if id(parameter) in shared and torch.equal(parameter, own[name]):
            own[name].data = parameter.data
    return model


def share_images(one: ClipModel, other: ClipModel, *, below: bool = False) -> bool:
    """Return whether two models' image towers are the same tensors, or are so `below` the top."""
    own = dict(other.network.named_parameters())
    return all(
        parameter.data_ptr() == own[name].data_ptr()
        for name, parameter in one.network.named_parameters()
        if (is_below_top(name) if below else name.startswith("visual."))
    )


_AUTOCAST = {
    Precision.FP32: None,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
}


@dataclass(frozen=True, kw_only=True)
class Texts:
    """One step's text features: class prompts first, then captions, then sentences.

    The student's features are detached from its text tower, so that they accumulate the gradients
    of all micro-batches; `backward` then propagates the sum through the tower once.
    """

    student: Tensor  # [T; C; P]: (columns + captions + sentences, width)
    tower: EncodedParts | None  # of these; None when the text tower is frozen
    teachers: tuple[Tensor, ...]  # [T'; P'] of each
    columns: int
    captions: int = 0

    def backward(self) -> None:
        """Propagate the accumulated gradient to the text tower's parameters."""
        if self.tower is not None:
            self.tower.backward()


@dataclass(frozen=True, kw_only=True)
class CachedFeatures:
    """Image features that do not change during an update: rows (images, width)."""

    student: Tensor | None  # None when the image tower trains
    teachers: tuple[Tensor, ...]
    below: Tensor | None = None  # activations below the image tower's top, where that trains

    def of(self, indices: Tensor) -> Self:
        """Return the features of some images."""
        return replace(
            self,
            student=None if self.student is None else self.student[indices],
            teachers=tuple(rows[indices] for rows in self.teachers),
            below=None if self.below is None else self.below[indices],
        )

    @property
    def rows(self) -> Tensor | None:
        """The rows that statistics describe: features of images, or activations below the top."""
        return self.student if self.below is None else self.below


@dataclass(frozen=True, kw_only=True)
class Models:
    """A student and its teachers.

    All models stay in evaluation mode: dropout is off and BatchNorm keeps its statistics, so that
    a student that starts from its parent has no distillation loss from it. For the same reason all
    image towers run under the same autocast in half precision; text towers, features and losses
    are fp32.
    """

    student: ClipModel
    teachers: tuple[ClipModel, ...]
    parameters: dict[str, nn.Parameter]  # the student's trained ones; a method may replace them
    part: ModelPart
    precision: Precision
    class_tokens: Tensor  # (columns, context length)
    readers: tuple[ClipModel, ...]  # frozen text towers: the teachers', perhaps the student's own
    own_reader: int | None  # which of them is the student's; None when its text tower trains
    reader_classes: tuple[Tensor, ...]  # T' of each reader: (columns, width)
    share_images: tuple[bool, ...]  # which teachers' image towers are the student's own tensors

    @classmethod
    def of(
        cls,
        spec: TrainingSpec,
        parent: ClipModel,
        names: Sequence[str],
        *,
        distils: bool,
        load: Callable[[Digest], ClipModel],
    ) -> Self:
        """Make `parent` the student and load its teachers; frozen tensors are shared."""
        recipe = spec.recipe
        parameters = trained_parameters(parent, recipe.part)
        parent.freeze()
        teachers = load_teachers(spec, parent, parameters, load) if distils else {}
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        if recipe.gradient_checkpointing:
            parent.checkpoint_gradients()
        readers, own = dict(teachers), None
        if recipe.part is ModelPart.IMAGE:
            readers.setdefault(spec.parent, parent)  # a teacher's equal text tower serves as well
            own = list(readers).index(spec.parent)
        tokens = parent.tokenise(spec.prompt.fill_all(names) or ("no class",))
        with torch.no_grad():
            classes = tuple(r.encode_tokens(tokens)[: len(names)] for r in readers.values())
        return cls(
            student=parent,
            teachers=tuple(teachers.values()),
            parameters=parameters,
            part=recipe.part,
            precision=recipe.precision,
            class_tokens=tokens[: len(names)],
            readers=tuple(readers.values()),
            own_reader=own,
            reader_classes=classes,
            share_images=tuple(share_images(teacher, parent) for teacher in teachers.values()),
        )

    def texts(
        self,
        sentences: Tensor,
        replayed: Sequence[Tensor],
        captions: Tensor | None = None,
        *,
        micro_batch: int = 0,
    ) -> Texts:
        """Return all models' features of class prompts and `sentences`, the student's of captions.

        `sentences` and `captions` are token ids (texts, context); `replayed` are the readers'
        features of the sentences. With captions, the student's tower reads at most `micro_batch`
        texts at a time, if that is not 0.
        """
        read = [torch.cat(both) for both in zip(self.reader_classes, replayed, strict=True)]
        captions = self.class_tokens[:0] if captions is None or not len(captions) else captions
        tower, columns = None, len(self.class_tokens)
        if self.own_reader is None:
            tokens = torch.cat(
                [self.class_tokens, captions.to(self.class_tokens.device), sentences]
            )
            size = micro_batch if len(captions) else 0
            tower = EncodedParts(self.student.encode_tokens, tokens, size)
            student = tower.features
        else:
            student = read[self.own_reader]
            if len(captions):
                with torch.no_grad():
                    seen = self.readers[self.own_reader].encode_tokens(captions)
                student = torch.cat([student[:columns], seen, student[columns:]])
        return Texts(
            student=student,
            tower=tower,
            teachers=tuple(read[: len(self.teachers)]),
            columns=columns,
            captions=len(captions),
        )

    def batch(
        self,
        pixels: Tensor,
        target: Tensor,
        texts: Texts,
        known: CachedFeatures | None = None,
        *,
        fits: Tensor | None = None,
        distils: bool = True,
    ) -> Batch:
        """Return the input of a loss for uint8 pixels (images, 3, height, width).

        Features in `known` are not computed again. Teachers encode the images only if `distils`.
        """
        columns, captions = texts.columns, texts.captions
        known = known or CachedFeatures(student=None, teachers=())
        if known.student is not None:
            images = known.student
        elif known.below is not None:
            images = self.from_below(known.below)
        else:
            images = self.student_images(pixels)
        seen = known.teachers or (self.teacher_images(pixels, images) if distils else ())
        return Batch(
            student=_features(images, texts.student, columns, captions, self.student),
            teachers=tuple(
                _features(rows, text, columns, 0, teacher)
                for rows, text, teacher in zip(seen, texts.teachers, self.teachers, strict=False)
            ),
            target=target,
            fits=torch.empty(0, 0, dtype=torch.bool) if fits is None else fits,
        )

    def know(self, pixels: Tensor, *, distils: bool = True) -> CachedFeatures:
        """Return the features that stay constant for images that are not augmented.

        These are the teachers' and, if its image tower is frozen, the student's; or what that is
        below its top.
        """
        student = self.student_images(pixels) if self.part is ModelPart.TEXT else None
        teachers = self.teacher_images(pixels, student) if distils else ()
        below = None
        if self.part is ModelPart.TOP:
            with torch.no_grad(), self._autocast():
                below = encode_below(self.student, pixels)
        return CachedFeatures(student=student, teachers=teachers, below=below)

    def know_drawn(self, rows: Tensor, *, distils: bool = True) -> CachedFeatures:
        """Return the features of rows that were drawn from statistics; see `CachedFeatures.rows`.

        They are the student's and its teachers' alike, or what is below the tops of all.
        """
        teachers = self.teachers if distils else ()
        if self.part is not ModelPart.TOP:
            return CachedFeatures(student=rows, teachers=(rows,) * len(teachers))
        with torch.no_grad(), self._autocast():
            seen = tuple(encode_top(teacher, rows) for teacher in teachers)
        return CachedFeatures(student=None, teachers=seen, below=rows)

    def from_below(self, activations: Tensor) -> Tensor:
        """Return I, with gradient, of activations below the image tower's top."""
        with self._autocast():
            return encode_top(self.student, activations)

    def student_images(self, pixels: Tensor) -> Tensor:
        """Return I, with gradient unless the image tower is frozen."""
        with torch.set_grad_enabled(self.part is not ModelPart.TEXT):
            return self._images(self.student, pixels)

    @torch.no_grad()
    def teacher_images(self, pixels: Tensor, student: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return I' of each teacher; `student` is reused for a tower shared with the student."""
        return tuple(
            student if shares and student is not None else self._images(teacher, pixels)
            for teacher, shares in zip(self.teachers, self.share_images, strict=True)
        )

    def _images(self, model: ClipModel, pixels: Tensor) -> Tensor:
        with self._autocast():
            return model.encode_images(pixels)

    def _autocast(self) -> torch.autocast:
        dtype = _AUTOCAST[self.precision]
        return torch.autocast(self.student.device.type, dtype, enabled=dtype is not None)


def mixing_anchor(spec: TrainingSpec) -> Digest:
    """Return the version to mix the new weights with: the root or the parent."""
    fits = spec.recipe.mixing_choice is MixingChoice.FIT
    return spec.root if spec.recipe.teacher is TeacherPolicy.ROOT and not fits else spec.parent


def _features(
    images: Tensor, texts: Tensor, columns: int, captions: int, model: ClipModel
) -> Features:
    others = len(texts) - columns - captions
    classes, written, sentences = torch.split(texts, [columns, captions, others])
    return Features(
        images=images,
        classes=classes,
        captions=written,
        sentences=sentences,
        scale=model.scale,
        bias=model.bias,
    )
