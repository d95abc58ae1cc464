"""One row of `bench-step`, ready to be timed: the trainer's step, the reference and the floor."""

import argparse
import copy
import gc
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, median
from types import MethodType
from typing import Any, cast

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from benchmarks.output import publish as write_and_show
from benchmarks.output import stored_pictures
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts, ignore_bytes
from core.clip.bases import BUNDLED, read_folder
from core.clip.inputs import sentence_length
from core.clip.machine import Prefetcher, native_precisions
from core.clip.model import ClipModel, empty_network, publish
from core.learning.distributed import repeatable
from core.learning.setup import BLOCK_SENTENCES, PreparedRun, prepare_run
from core.learning.step import StepData
from core.learning.vocabulary import generator_of, sentences_of
from core.recipes.fields import DEFAULT_PROMPT, ModelPart, Precision
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from core.values import ignore_progress, sha256

# The minimal computation of a step of VR-LwF, on bare open_clip modules.
#
# A step runs the student's image tower forward and backward, the teacher's image tower forward (the
# crops are new), and the student's text tower forward and backward, separately over class prompts
# and replayed sentences, both truncated after the longest; then it takes a fused optimiser step. It
# has no clipping, no teacher's sentences and no bookkeeping. With part `image` the text tower is
# frozen and runs forward only.


class MinimalStep:
    """A student, its teacher and a fused Adam optimiser."""

    def __init__(
        self,
        *,
        student: Any,
        teacher: Any,
        trained: Sequence[nn.Parameter],
        text_trains: bool,
        bf16: bool,
        rate: float,
    ) -> None:
        self._student, self._teacher = student, teacher
        self._text_trains = text_trains
        self._bf16 = bf16
        self._optimiser = torch.optim.Adam(trained, lr=rate, fused=True)

    def take(self, images: Tensor, target: Tensor, classes: Tensor, sentences: Tensor) -> None:
        """Take one step; images are floats, `classes` and `sentences` truncated token ids."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._bf16):
            seen = self._student.encode_image(images).float()
            with torch.no_grad():
                before = self._teacher.encode_image(images).float()
        with torch.set_grad_enabled(self._text_trains):
            read = torch.cat([self._encode(classes), self._encode(sentences)])
        scores = F.normalize(seen, dim=1) @ F.normalize(read, dim=1).T  # (images, texts)
        loss = F.cross_entropy(scores * self._student.logit_scale.exp(), target)
        loss = loss + F.mse_loss(seen, before)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._optimiser.zero_grad()

    def _encode(self, tokens: Tensor) -> Tensor:
        network, length = self._student, tokens.shape[1]
        words = network.token_embedding(tokens) + network.positional_embedding[:length]
        words = network.transformer(words, attn_mask=network.attn_mask[:length, :length])
        ends = words[torch.arange(len(tokens)), tokens.argmax(dim=1)]
        features: Tensor = network.ln_final(ends) @ network.text_projection
        return features


# A reference implementation of VR-LwF's step, written plainly from the published method.
#
# It uses no part of `core.learning`, so that the two can be compared. Every sentence is encoded at
# the tower's full context length, class prompts and replayed sentences are encoded again at every
# step, both models encode the images, and Adam updates the tensors one by one. The teacher encodes
# the class prompts once. The published trainer also requests every block's attention weights, which
# rules out fused attention: `ask_for_attention_weights` changes a network to do so.


def ask_for_attention_weights(network: nn.Module) -> None:
    """Make every block compute its attention weights, though nothing uses them."""

    def attention(block: Any, q_x: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
        attended: Tensor = block.attn(q_x, q_x, q_x, need_weights=True, attn_mask=attn_mask)[0]
        return attended

    for block in network.modules():
        if isinstance(block, ResidualAttentionBlock):
            block.attention = MethodType(attention, block)


class ReferenceStep:
    """Student, teacher and optimiser; `gradients` and `move` are the two halves of a step."""

    def __init__(
        self,
        *,
        student: Any,
        teacher: Any,
        trained: Mapping[str, nn.Parameter],
        classes: Tensor,
        alpha: float,
        rate: float,
        clip_norm: float,
    ) -> None:
        """Encode the class prompts with the teacher and make the optimiser.

        `classes` are token ids (classes, context); `trained` are the student's trained parameters
        by name.
        """
        self._student, self._teacher = student, teacher
        self.trained = trained
        self._classes = classes
        self._alpha = alpha
        self._clip_norm = clip_norm
        self._optimiser = torch.optim.Adam(
            trained.values(), lr=rate, betas=(0.9, 0.999), eps=1e-8, foreach=False, fused=False
        )
        with torch.no_grad():
            self._teacher_classes = F.normalize(teacher.encode_text(classes), dim=1)  # T'

    def gradients(self, images: Tensor, target: Tensor, sentences: Tensor) -> dict[str, float]:
        """Compute a batch's gradients in place; return the loss and its terms.

        `images` are normalised floats (images, 3, height, width), `sentences` token ids (M,
        context).
        """
        with torch.no_grad():
            seen = F.normalize(self._teacher.encode_image(images), dim=1)  # I'
            read = F.normalize(self._teacher.encode_text(sentences), dim=1)  # P'
            wanted = self._teacher.logit_scale.exp() * seen @ read.T  # V' (images, sentences)
        rows = F.normalize(self._student.encode_image(images), dim=1)  # I
        T = F.normalize(self._student.encode_text(self._classes), dim=1)
        P = F.normalize(self._student.encode_text(sentences), dim=1)
        s = self._student.logit_scale.exp()
        ce = F.cross_entropy(s * rows @ T.T, target)
        p = F.log_softmax(s * rows @ P.T, dim=1)
        vr = F.kl_div(p, F.softmax(wanted, dim=1), reduction="sum") / len(images)
        loss = ce + self._alpha * vr
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item(), "ce": ce.item(), "vr": vr.item()}

    def move(self) -> None:
        """Clip the gradients and take the optimiser's step."""
        nn.utils.clip_grad_norm_(self.trained.values(), self._clip_norm, foreach=False)
        self._optimiser.step()


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
        end = models.student.tokenizer.frame.end
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


# Measure the time of a step of VR-LwF: `make bench-step`.
#
# Three implementations of the same step run in turn in one process: the reference
# (`reference_step.py`), the service's own trainer, and the floor (`floor_step.py`). Losses and
# gradients of the first two are compared on the same crops and sentences, with a student that
# differs from its teacher. The trainer's frozen towers encode sentences for several steps at once,
# so its time is the mean over that many. Column `auto` marks the precision that `auto` selects on
# this machine. A precision without instructions here is slow, so its row is measured once,
# whatever --repeats says.
#
#     python -m benchmarks.step --rows vit-32 --repeats 3     python -m benchmarks.step --rows
# tiny-bf16 tiny-fp32 --threads 1 --clock cpu   # a busy machine


NATIVE = native_precisions(CPU)

AUTO = Precision.AUTO.on(NATIVE)


def measure(
    trial: Trial, repeats: int, clock: Callable[[], float], *, with_reference: bool
) -> dict[str, list[float]]:
    """Time each implementation in turn; return seconds per step, one value per repeat."""
    run, loader = trial.begun.update, trial.begun.reading
    together = max(1, BLOCK_SENTENCES // trial.row.recipe.sentences)
    classes, sentences = trial.cropped()
    data = loader.step(0)
    images = trial.images(data)

    def timed(step: Callable[[], object]) -> float:
        began = clock()
        step()
        return clock() - began

    def reference() -> None:
        trial.reference.gradients(images, data.target, trial.sentences)
        trial.reference.move()

    def floor() -> None:
        trial.floor.take(images, data.target, classes, sentences)

    times: dict[str, list[float]] = {"reference": [], "ours": [], "floor": []}
    with Prefetcher(loader.step, 0, run.steps) as ahead:

        def ours() -> None:
            run.advance(ahead.take())

        floor()
        ours()
        for _ in range(repeats):
            pairs = [(timed(ours), timed(floor)) for _ in range(together)]
            times["ours"].append(fmean(pair[0] for pair in pairs))
            times["floor"].append(fmean(pair[1] for pair in pairs))
            if with_reference:
                times["reference"].append(timed(reference))
    return times


def table_row(
    name: str, row: Row, times: dict[str, list[float]], differences: tuple[float, float, float]
) -> dict[str, Any]:
    """Return a row of medians, ratios, and the ratios' ranges over repeats."""
    reference, ours, floor = (median(times[way] or [float("nan")]) for way in times)
    over = [a / b for a, b in zip(times["ours"], times["floor"], strict=True)]
    faster = [a / b for a, b in zip(times["reference"], times["ours"], strict=False)]
    return {
        "row": name,
        "batch": row.batch,
        "auto": "*" if row.precision is AUTO else "",
        "reference_s": reference,
        "ours_s": ours,
        "floor_s": floor,
        "times_faster": reference / ours,
        "faster_range": _range(faster),
        "over_floor": median(over),
        "over_range": _range(over),
        "loss_off": differences[0],
        "gradient_off": differences[1],
        "worst_tensor_off": differences[2],
    }


def _range(values: list[float]) -> str:
    return f"{min(values):.3g}-{max(values):.3g}" if values else ""


def main() -> None:
    """Time the chosen rows and publish the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--batch", type=int, help="batch size, in place of each row's own")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each row")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="torch threads"
    )
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="wall time or CPU time of the process",
    )
    parser.add_argument(
        "--attention-weights",
        action="store_true",
        help="compute attention weights in the reference, as the published trainer does",
    )
    parser.add_argument(
        "--no-reference", action="store_true", help="measure only the trainer and the floor"
    )
    given = parser.parse_args()
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    rows, seconds = [], {}
    for name in given.rows:
        with (
            tempfile.TemporaryDirectory() as folder,
            repeatable(7, device=CPU, threads=given.threads),
        ):
            artifacts = LocalArtifacts(Path(folder))
            row = replace(ROWS[name], batch=given.batch or ROWS[name].batch)
            trial = Trial.of(row, artifacts, attention_weights=given.attention_weights)
            differences = trial.differences()
            repeats = given.repeats if row.precision in NATIVE else 1
            times = measure(trial, repeats, clock, with_reference=not given.no_reference)
            rows.append(table_row(name, row, times, differences))
            seconds[name] = times
            print(rows[-1], flush=True)
        del trial
        gc.collect()
    write_and_show(
        "step",
        rows,
        threads=given.threads,
        clock=given.clock,
        repeats=given.repeats,
        attention_weights=given.attention_weights,
        auto=AUTO,
        seconds=seconds,
    )
    print(f"precision auto is {AUTO} here")


if __name__ == "__main__":
    main()
