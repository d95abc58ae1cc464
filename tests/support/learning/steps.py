"""One step of any method on random pixels: its numbers and gradients, without a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core.clip.model import ClipModel
from core.learning.methods import LearningMethod, Term
from core.learning.step import LossGradients, StepData
from core.learning.student import CachedFeatures, Models
from core.learning.vocabulary import Columns, generator_of, sentences_of
from core.recipes.fields import DEFAULT_PROMPT, Precision
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from core.values import Digest
from tests.support.factories import an_entry
from tests.support.learning.tiny_clip import tiny_clip

CLASSES, LEARNED = ("okapi", "red panda"), ("ibis",)

PARENT, ROOT = Digest("the parent"), Digest("the root")

LOSS_SCALE = 2.0**6  # in fp16; the scale that updates begin with may overflow at first

WALLS = ("a red wall", "a wall in the rain", "two walls")


def task_of(recipe: Recipe, *, first: bool = False) -> TrainingSpec:
    """A first update, or a later one: then the root is not the parent."""
    return TrainingSpec(
        parent=PARENT,
        root=PARENT if first else ROOT,
        recipe=recipe,
        classes=CLASSES,
        learned=LEARNED,
        open_classes=("newt",),
        images=(),
        prompt=DEFAULT_PROMPT,
        reference=(an_entry(pixels=ROOT, artifact=ROOT, texts=WALLS),),
    )


def noisy(model: ClipModel, where: Callable[[str], bool] = lambda name: True) -> ClipModel:
    """A model whose parameters of some names have moved."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if where(name):
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return model


def in_double(model: ClipModel) -> ClipModel:
    """The model in fp64, where equal mathematics shows as nearly equal numbers."""
    model.network.double()
    model.visual.register_forward_pre_hook(
        lambda _, inputs: tuple(value.double() for value in inputs)
    )
    return model


def random_pixels(count: int, seed: int = 3) -> Tensor:
    """uint8 (images, 3, 16, 16)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)


def step_data(count: int = 7) -> StepData:
    """A batch of random images; and of as many reference images."""
    return StepData(
        indices=torch.arange(count),
        pixels=random_pixels(count),
        target=torch.arange(count) % 2,
        captions=torch.empty(0, 0, dtype=torch.long),
        fits=torch.empty(0, 0, dtype=torch.bool),
        share=1.0,
        reference=random_pixels(count, seed=4),
    )


class WithoutCrossEntropy(LearningMethod):
    """What a method adds to fine-tuning."""

    def terms(self) -> tuple[Term, ...]:
        return tuple(t if t.distils else replace(t, weight=0.0) for t in super().terms())


@dataclass(frozen=True, kw_only=True)
class Stand:
    """An update's models and loss, and the sentences of its one step."""

    models: Models
    gradients: LossGradients
    sentences: Tensor
    replayed: tuple[Tensor, ...]

    def knowing(self, known: CachedFeatures) -> Stand:
        """The same, with image features that need not be read again."""
        return replace(self, gradients=replace(self.gradients, known=known))

    def step(self, data: StepData | None = None) -> tuple[dict[str, float], dict[str, Tensor]]:
        """The numbers of a step by name, and the gradients, unscaled."""
        fp16 = self.gradients.method.recipe.precision is Precision.FP16
        scaler = torch.amp.GradScaler("cpu", init_scale=LOSS_SCALE, enabled=fp16)
        data = data or step_data()
        size = self.gradients.micro_batch
        texts = self.models.texts(self.sentences, self.replayed, data.captions, micro_batch=size)
        numbers = self.gradients.backward(data, texts, scaler)
        scale = LOSS_SCALE if fp16 else 1.0
        return (
            dict(zip(self.gradients.names, numbers.tolist(), strict=True)),
            {
                name: parameter.grad.clone() / scale
                for name, parameter in self.models.parameters.items()
                if parameter.grad is not None
            },
        )


def stand(
    recipe: Recipe,
    *,
    parent: ClipModel | None = None,
    root: ClipModel | None = None,
    only_distillation: bool = False,
    captions: bool = False,
) -> Stand:
    """A first update of `parent`; with a `root`, a later one."""
    parent = parent or tiny_clip()
    spec = task_of(recipe, first=root is None)
    columns = Columns.of(recipe, spec.classes, spec.learned, spec.open_classes, captions=captions)
    method = (WithoutCrossEntropy if only_distillation else LearningMethod)(recipe, columns)
    models = Models.of(
        spec,
        parent,
        columns.names,
        distils=method.distils,
        load=lambda digest: {ROOT: root}[digest] or parent,
    )
    sentences = models.class_tokens[:0]
    replayed = tuple(rows[:0] for rows in models.reader_classes)
    if method.replays_vocabulary:
        sentences = sentences_of(recipe, parent).draw(generator_of("test"))
        with torch.no_grad():
            replayed = tuple(reader.encode_tokens(sentences) for reader in models.readers)
    with torch.no_grad():
        walls = tuple(teacher.encode_texts(WALLS) for teacher in models.teachers)
    gradients = LossGradients(
        method=method,
        models=models,
        competing=columns.competing,
        micro_batch=recipe.micro_batch,
        reference_texts=walls,
    )
    return Stand(models=models, gradients=gradients, sentences=sentences, replayed=replayed)


@contextmanager
def counted(module: nn.Module) -> Iterator[list[int]]:
    """How many rows a module is given at each of its calls."""
    calls: list[int] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    yield calls
    handle.remove()
