"""One row of `bench-step`, ready to be timed: the trainer's step, the reference and the floor."""

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import open_clip
import torch
from torch import Tensor, nn

from benchmarks.step.minimal_step import MinimalStep
from benchmarks.step.reference_step import ReferenceStep, ask_for_attention_weights
from benchmarks.synthetic_images import stored_pictures
from core.clip.bases.pretrained_folder import BUNDLED, read_folder
from core.clip.model import ClipModel, empty_network
from core.clip.text import sentence_length
from core.clip.weights import publish
from core.domain.recipes.choices import ModelPart, Precision
from core.domain.recipes.prompt import DEFAULT_PROMPT
from core.domain.recipes.recipe import Recipe
from core.domain.values import sha256
from core.learning.data.vocabulary import generator_of, sentences_of
from core.learning.gradients import StepData
from core.learning.setup import PreparedRun, prepare_run
from core.ports import Artifacts, TrainingSpec, ignore_bytes, ignore_progress

CPU = torch.device("cpu")
COLOURS = ("red", "blue", "green", "white", "black", "yellow", "brown", "orange", "pink", "golden")
THINGS = ("bicycle", "lamp", "chair", "bottle", "house", "apple", "train", "rabbit", "rose", "hill")
CLASSES = tuple(f"{colour} {thing}" for colour in COLOURS for thing in THINGS)
MOVED = 0.02  # noise between student and teacher, in standard deviations of each tensor


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model and a recipe."""

    vit: bool  # ViT-B/32 with random weights; else the bundled model
    batch: int
    part: ModelPart = ModelPart.WHOLE
    precision: Precision = Precision.FP32
    later: bool = False  # a second update: half of the images are exemplars

    @property
    def recipe(self) -> Recipe:
        """The service's default recipe, with this row's values."""
        return Recipe(
            batch_size=self.batch,
            part=self.part,
            precision=self.precision,
            learning_rate=1e-6,
            epochs=1000,
            seed=7,
        )

    def model(self) -> ClipModel:
        """Load the model as the trainer would."""
        if not self.vit:
            config, network = read_folder(BUNDLED)
            return ClipModel.build(config, network.state_dict(), CPU)
        settings = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {}}
        torch.manual_seed(0)
        return ClipModel.build(settings, empty_network(settings).state_dict(), CPU)


ROWS = {
    "vit-32": Row(vit=True, batch=32),
    "vit-32-image": Row(vit=True, batch=32, part=ModelPart.IMAGE),
    "vit-100": Row(vit=True, batch=100),
    "vit-100-image": Row(vit=True, batch=100, part=ModelPart.IMAGE),
    "tiny-fp32": Row(vit=False, batch=100),
    "tiny-fp32-later": Row(vit=False, batch=100, later=True),
    "tiny-bf16": Row(vit=False, batch=100, precision=Precision.BF16),
    "tiny-bf16-later": Row(vit=False, batch=100, precision=Precision.BF16, later=True),
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One row, ready to be timed: the trainer's own step, the reference and the floor."""

    row: Row
    begun: PreparedRun
    attention_weights: bool

    @classmethod
    def of(cls, row: Row, artifacts: Artifacts, *, attention_weights: bool) -> "Trial":
        """Prepare a run of one batch per epoch, and add a little noise to its student."""
        model = row.model()
        entries = stored_pictures(artifacts, CLASSES[: row.batch], side=model.preprocess.size[0])
        parent = root = sha256(b"any")  # never loaded: parent, root and teacher are one model
        if row.later:
            state = model.network.state_dict()
            root = publish(model.config, state, artifacts, ignore_progress, ignore_bytes).digest
        own = len(entries) // 2 if row.later else len(entries)
        spec = TrainingSpec(
            parent=parent,
            root=root,
            recipe=row.recipe,
            classes=CLASSES[:own] if row.later else CLASSES,
            learned=CLASSES[own : len(entries)],
            open_classes=(),
            images=entries[:own],
            exemplars=entries[own:],
            prompt=DEFAULT_PROMPT,
        )
        begun = prepare_run(spec, model, artifacts)
        chance = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for value in begun.update.models.parameters.values():
                if value.ndim:
                    noise = torch.randn(value.shape, generator=chance)
                    value.add_(noise * MOVED * value.std(correction=0))
        return cls(row=row, begun=begun, attention_weights=attention_weights)

    @property
    def teacher(self) -> Any:
        """The frozen network."""
        return self.begun.update.models.teachers[0].network

    @cached_property
    def sentences(self) -> Tensor:
        """The first sentences that the trainer draws, as token ids (sentences, context)."""
        recipe = self.row.recipe
        model = self.begun.update.models.student
        return sentences_of(recipe, model).draw(generator_of("sentences", recipe.seed))

    @cached_property
    def reference(self) -> ReferenceStep:
        """The reference, on a copy of the student."""
        network, trained = self._copy()
        teacher = self.teacher
        if self.attention_weights:
            teacher = copy.deepcopy(teacher)
            ask_for_attention_weights(teacher)
            ask_for_attention_weights(network)
        recipe = self.row.recipe
        return ReferenceStep(
            student=network,
            teacher=teacher,
            trained=trained,
            classes=self.begun.update.models.class_tokens,
            alpha=recipe.replay_weight,
            rate=recipe.learning_rate,
            clip_norm=recipe.clip_norm,
        )

    @cached_property
    def floor(self) -> MinimalStep:
        """The floor, on a copy of the student."""
        network, trained = self._copy()
        return MinimalStep(
            student=network,
            teacher=self.teacher,
            trained=list(trained.values()),
            text_trains=self.row.part is not ModelPart.IMAGE,
            bf16=self.row.precision is Precision.BF16,
            rate=self.row.recipe.learning_rate,
        )

    def images(self, data: StepData) -> Tensor:
        """Return a step's crops as a tower takes them, in its model's memory layout."""
        pixels = self.begun.update.models.student.preprocess.normalise(data.pixels)
        layout = torch.contiguous_format if self.row.vit else torch.channels_last
        return pixels.contiguous(memory_format=layout)

    def cropped(self) -> tuple[Tensor, Tensor]:
        """Return the token ids of classes and sentences, each truncated after the longest."""
        models = self.begun.update.models
        end = models.student.tokenizer.eot_token_id
        both = models.class_tokens, self.sentences
        classes, sentences = (tokens[:, : sentence_length(tokens, end)] for tokens in both)
        return classes, sentences

    def differences(self) -> tuple[float, float, float]:
        """Compare the trainer with the reference on the same batch.

        Returns the differences of the loss, of all gradients and of the worst tensor's gradient:
        the first absolute, the others |ours − theirs| / |theirs|. The worst tensors are biases
        whose terms, one for each class or sentence, add up to nearly 0.
        """
        run, data = self.begun.update, self.begun.reading.step(0)
        theirs = self.reference.gradients(self.images(data), data.target, self.sentences)
        ours = run.gradients(data)
        pairs = [
            _gradients(value, self.reference.trained[name])
            for name, value in run.models.parameters.items()
        ]
        worst = max(_distance(*pair) for pair in pairs)
        whole = _distance(
            *(torch.cat([g.flatten() for g in side]) for side in zip(*pairs, strict=True))
        )
        for value in (*run.models.parameters.values(), *self.reference.trained.values()):
            value.grad = None
        return max(abs(ours[name] - theirs[name]) for name in theirs), whole, worst

    def _copy(self) -> tuple[Any, dict[str, nn.Parameter]]:
        models = self.begun.update.models
        network = copy.deepcopy(models.student.network)
        if self.row.vit:  # the patch embedding is the same convolution in either layout
            cast("Any", network).to(memory_format=torch.contiguous_format)
        return network, {name: network.get_parameter(name) for name in models.parameters}


def _gradients(ours: nn.Parameter, theirs: nn.Parameter) -> tuple[Tensor, Tensor]:
    if ours.grad is None or theirs.grad is None:
        raise SystemExit("a parameter that trains has no gradient")
    return ours.grad, theirs.grad


def _distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())
