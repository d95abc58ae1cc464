"""The learning method of a recipe: the terms of its loss, and hooks around the steps."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.artifacts.store import Artifacts
from core.learning import student as losses
from core.learning.student import Batch, Features, Models, logits
from core.learning.vocabulary import Columns
from core.recipes.fields import LossTerm, MixingChoice
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from core.values import Json, ignore_progress

# Groups of a model's parameters by depth, derived from their names.


MOST_BLOCK_GROUPS = 6  # of a tower, beside its stem and its head

_PREFIX = re.compile(r"(visual\.|text\.)?(trunk\.)?(transformer\.)?")

_BLOCK = re.compile(  # a residual block of a tower of open_clip or timm
    r"(resblocks|blocks|stages|layers|layer\d+)\.\d+((\.blocks)?\.\d+)?(?=\.)"
)

_HEAD = {
    *("ln_final", "ln_post", "norm", "fc_norm"),
    *("attnpool", "attn_pool", "final_conv", "conv_head"),
    *("head", "proj", "text_projection"),
}


def layer_groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of parameters by group: text tower, then image tower, first layer to last.

    The groups of a tower are its stem (embeddings and what else comes before the blocks), its
    residual blocks and its head (final norm, pooling, projection). Adjacent blocks are joined to at
    most 6 groups of nearly equal size. In a tower without such blocks, each top-level child counts
    as one. The logit scale, on which no prediction depends, is in the last group.
    """
    towers: dict[str, list[str]] = {"text": [], "image": []}
    scale = []
    for name in names:
        if name == "logit_scale":
            scale.append(name)
        else:
            towers["image" if name.startswith("visual.") else "text"].append(name)
    groups = {
        f"{tower} {layer}": group
        for tower, members in towers.items()
        for layer, group in _groups_of(members).items()
    }
    groups.setdefault(next(reversed(groups), "logit scale"), []).extend(scale)
    return groups


def _groups_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of a tower's parameters by group, first layer to last."""
    paths = {name: _PREFIX.sub("", name, count=1) for name in names}
    blocks = {name: found[0] for name, path in paths.items() if (found := _BLOCK.match(path))}
    layers: dict[str, list[str]] = {}
    for name, path in paths.items():
        child = path.split(".")[0]
        end = "head" if child in _HEAD else "stem" if blocks else child
        layers.setdefault(blocks.get(name, end), []).append(name)
    stem, head = layers.pop("stem", []), layers.pop("head", [])
    groups = {"stem": stem, **_joined(layers), "head": head}
    return {layer: group for layer, group in groups.items() if group}


def _joined(layers: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Join adjacent layers to at most `MOST_BLOCK_GROUPS` groups."""
    labels = list(layers)
    count = min(len(labels), MOST_BLOCK_GROUPS)
    groups = {}
    for index in range(count):
        run = labels[len(labels) * index // count : len(labels) * (index + 1) // count]
        label = run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}"
        groups[label] = [name for layer in run for name in layers[layer]]
    return groups


# Mixing of the new weights with old ones after the last step.
#
#     θ ← a θ_new + (1 − a) θ_old    over the trained tensors
#
# The logit scale is stored and mixed as a logarithm. The recipe's teacher decides whether θ_old is
# the parent's or the root's.


SHARES = tuple(round(0.1 * step, 1) for step in range(11))  # of the new weights


@dataclass(frozen=True, kw_only=True)
class TrainingEnd:
    """A training run after its last step."""

    parameters: Mapping[str, nn.Parameter]  # the student's trained parameters
    anchor: Callable[[], Mapping[str, Tensor]]  # loads the weights to mix the new ones with
    score: Callable[[], tuple[float, float]]  # the student's accuracy: new classes, suites


def mix_fixed(ending: TrainingEnd, share: float) -> None:
    """Mix with a fixed share of the new weights."""
    mix(ending.parameters, snapshot(ending.parameters), ending.anchor(), share)


def mix_best(ending: TrainingEnd) -> Json:
    """Mix with the best share; return it, and every share tried with its scores."""
    return best_share(ending, snapshot(ending.parameters), ending.anchor())


def best_share(ending: TrainingEnd, new: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> Json:
    """Try shares 0, 0.1, … 1, and keep the one with the best A-Acc on validation parts.

    Of equal shares the smaller one is kept, because it forgets less. Returns the share, and every
    share tried with its scores.
    """
    tried = []
    for share in SHARES:
        mix(ending.parameters, new, old, share)
        tried.append(scored(ending, share))
    best = max(tried, key=lambda row: (a_acc(row), -row["mixing"]))["mixing"]
    mix(ending.parameters, new, old, best)
    return {"mixing": best, "tried": tried}


def scored(ending: TrainingEnd, share: float) -> dict[str, Any]:
    """Return a share with the scores that the student has now."""
    learned, kept = ending.score()
    return {"mixing": share, "new": learned, "kept": kept}


def a_acc(scores: Json) -> float:
    """Return the mean of the accuracies on the new classes and on the suites.

    It is rounded, so that equal ones stay equal whatever they were summed from.
    """
    accuracy: float = (scores["new"] + scores["kept"]) / 2
    return round(accuracy, 9)


def snapshot(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return a detached copy of the parameters."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@torch.no_grad()
def mix(
    parameters: Mapping[str, nn.Parameter],
    new: Mapping[str, Tensor],
    old: Mapping[str, Tensor],
    share: float,
) -> None:
    """Set each parameter to share · new + (1 − share) · old; shares 0 and 1 copy the bits."""
    for name, parameter in parameters.items():
        if share in {0, 1}:
            parameter.copy_(new[name] if share else old[name])
        else:
            parameter.copy_(old[name].lerp(new[name], share))


# Mixing of the new weights with old ones by a share for each group of layers.
#
#     θ_g ← a_g θ_new + (1 − a_g) θ_old    over the trained tensors of group g
#
# The shares are chosen on validation parts.


STEP = 0.2


def mix_per_layer(ending: TrainingEnd) -> Json:
    """Choose a share for each group of layers (`layer_groups`) by A-Acc on validation parts.

    All groups start with the best share for the whole model (`best_share`). Then each is visited
    once: the image tower's from last to first, then the text tower's. The shares 0, 0.2 less, 0.2
    more and 1 are tried for it alone, and the best of them is kept if its A-Acc is higher than
    that of the weights so far; of equal ones the smallest. On the validation parts, A-Acc is
    therefore never lower than with one share.

    A model is evaluated at most 11 + 4 · 16 = 75 times on the same validation images, so that with
    few of them some of what is gained there is chance. Returns the first share, the share of each
    group, and every share tried with its scores.
    """
    new, old = snapshot(ending.parameters), ending.anchor()
    whole = best_share(ending, new, old)
    first: float = whole["mixing"]
    tried = list(whole["tried"])
    best = max(map(a_acc, tried))
    groups = layer_groups(ending.parameters)
    shares = dict.fromkeys(groups, first)
    for layer, names in reversed(groups.items()):
        parameters = {name: ending.parameters[name] for name in names}
        for share in _candidates(shares[layer]):
            mix(parameters, new, old, share)
            tried.append({"layer": layer, **scored(ending, share)})
            if a_acc(tried[-1]) > best:
                best, shares[layer] = a_acc(tried[-1]), share
        mix(parameters, new, old, shares[layer])
    layers = [{"layer": layer, "mixing": share} for layer, share in shares.items()]
    return {"mixing": first, "layers": layers, "tried": tried}


def _candidates(share: float) -> list[float]:
    """Return the shares to try instead of a share, smallest first."""
    near = {round(min(1.0, max(0.0, share + step)), 1) for step in (-STEP, STEP)}
    return sorted({0.0, *near, 1.0} - {share})


# The terms of the methods' losses; with several teachers a term is the mean over them.


@dataclass(frozen=True, kw_only=True)
class Term:
    """One weighted term of a method's loss."""

    name: str
    weight: float
    loss: Callable[[Batch], Tensor]  # returns a scalar
    distils: bool = True  # whether it uses the teachers


def total(terms: Sequence[Term], values: Sequence[Tensor]) -> Tensor:
    """Return L, the weighted sum of a method's terms."""
    weighted = [term.weight * value for term, value in zip(terms, values, strict=True)]
    return torch.stack(weighted).sum()


def cross_entropy(columns: Columns) -> Term:
    """Return L_ce over the competing columns."""
    return Term(
        name="ce",
        weight=1.0,
        loss=lambda batch: losses.cross_entropy(
            batch.student.class_logits[:, : columns.competing], batch.target
        ),
        distils=False,
    )


def vocabulary_replay(recipe: Recipe) -> Term:
    """Return α L_vr."""

    def loss(student: Features, teacher: Features) -> Tensor:
        return losses.vr_lwf(student.sentence_logits, teacher.sentence_logits, recipe.temperature)

    return Term(name="vr", weight=recipe.replay_weight, loss=_mean_over_teachers(loss))


def vocabulary_crossing(recipe: Recipe) -> Term:
    """Return β L_cross."""

    def loss(student: Features, teacher: Features) -> Tensor:
        return losses.cross(
            logits(student.images, teacher.sentences, teacher.scale),
            logits(teacher.images, student.sentences, teacher.scale),
            teacher.sentence_logits,
            recipe.temperature,
        )

    return Term(name="cross", weight=recipe.cross_weight, loss=_mean_over_teachers(loss))


def class_distillation(recipe: Recipe, columns: Columns) -> Term:
    """Return α' L_lwf over the classes learned before and the current ones."""

    def loss(student: Features, teacher: Features) -> Tensor:
        seen = torch.tensor(columns.seen, device=student.images.device)
        return losses.lwf(student.class_logits, teacher.class_logits, seen, recipe.temperature)

    return Term(name="lwf", weight=recipe.lwf_weight, loss=_mean_over_teachers(loss))


def reference_images(recipe: Recipe) -> Term:
    """Return γ times ZSCL's image loss, which preserves each reference image's ranking of texts."""

    def loss(student: Features, teacher: Features) -> Tensor:
        new, old = _logits_on_teacher_texts(student, teacher)
        return losses.soft_cross_entropy(new, old, recipe.temperature)

    return Term(name="zscl_i", weight=recipe.reference_weight, loss=_mean_over_teachers(loss))


def reference_texts(recipe: Recipe) -> Term:
    """Return γ times ZSCL's text loss, which preserves each reference text's ranking of images."""

    def loss(student: Features, teacher: Features) -> Tensor:
        new, old = _logits_on_teacher_texts(student, teacher)
        return losses.soft_cross_entropy(new.T, old.T, recipe.temperature)

    return Term(name="zscl_t", weight=recipe.reference_weight, loss=_mean_over_teachers(loss))


def _logits_on_teacher_texts(student: Features, teacher: Features) -> tuple[Tensor, Tensor]:
    """Return S = s I_R E'ᵀ and S' = s I'_R E'ᵀ, whose difference trains the image tower alone."""
    scale = student.scale.detach()
    return (
        logits(student.images, teacher.classes, scale),
        logits(teacher.images, teacher.classes, scale),
    )


def _mean_over_teachers(
    loss: Callable[[Features, Features], Tensor],
) -> Callable[[Batch], Tensor]:
    return lambda batch: torch.stack(
        [loss(batch.student, teacher) for teacher in batch.teachers]
    ).mean()


@dataclass(frozen=True, kw_only=True)
class TrainingStart:
    """A training run before its first step."""

    spec: TrainingSpec
    models: Models
    artifacts: Artifacts


class LearningMethod:
    """The terms of a recipe's loss, and its mixing after the last step.

    Subclasses change what no recipe can name, such as the baselines of a study.
    """

    def __init__(self, recipe: Recipe, columns: Columns) -> None:
        self.recipe = recipe
        self.columns = columns

    def terms(self) -> tuple[Term, ...]:
        """Return the terms on each batch of the update's images."""
        recipe, columns = self.recipe, self.columns
        found = [cross_entropy(columns)]
        if LossTerm.VR in recipe.terms:
            found.append(vocabulary_replay(recipe))
        if columns.distils:
            found.append(class_distillation(recipe, columns))
        if LossTerm.CROSS in recipe.terms:
            found.append(vocabulary_crossing(recipe))
        return tuple(found)

    def reference_terms(self) -> tuple[Term, ...]:
        """Return the terms on each batch of the reference set."""
        if LossTerm.REFERENCE not in self.recipe.terms:
            return ()
        return (reference_images(self.recipe), reference_texts(self.recipe))

    @property
    def replays_vocabulary(self) -> bool:
        """Whether the terms use random sentences."""
        return self.recipe.replays_vocabulary

    @property
    def distils(self) -> bool:
        """Whether any term uses a teacher."""
        return self.distils_batches or any(term.distils for term in self.reference_terms())

    @property
    def distils_batches(self) -> bool:
        """Whether any term on the update's own images uses a teacher."""
        return any(term.distils for term in self.terms())

    @property
    def scores(self) -> bool:
        """Whether `conclude` chooses by scores on validation parts."""
        return self.recipe.mixing_choice.uses_validation

    def prepare(self, beginning: TrainingStart) -> None:
        """Prepare for the steps; called before the first step and before resuming.

        What `models.parameters` holds afterwards is what training changes and checkpoints keep.
        """

    def adjust(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """Change the gradients between the backward pass and step `step`, counted from 0.

        In fp16 the gradients are still multiplied by the loss scale.
        """

    def conclude(self, ending: TrainingEnd) -> Json:
        """Change the weights after the last step; return what was chosen, for the record."""
        match self.recipe.mixing_choice:
            case MixingChoice.NONE:
                return {}
            case MixingChoice.FIXED:
                mix_fixed(ending, self.recipe.mixing)
                return {}
            case MixingChoice.VALIDATION:
                return mix_best(ending)
            case MixingChoice.PER_LAYER:
                return mix_per_layer(ending)


MakeMethod = Callable[[Recipe, Columns], LearningMethod]


# The projection of steps off the directions that a weight uses most.


class SpectralProjection:
    """Keeps training off the leading singular directions of the weights at its start.

    For each matrix W = U S Vᵀ, U_k and V_k are the fewest leading directions that hold `share`
    of the energy ΣS². A step Δ of W becomes

        Δ ← (I − U_k U_kᵀ) Δ (I − V_k V_kᵀ)

    so that the student still maps the span of V_k to that of U_k as it did at the start. A tensor
    of more than two dimensions is a matrix whose rows are its first dimension; vectors, scalars and
    tensors that are a single row or column train freely. Adam's step leaves the subspace that its
    gradient is in, so the step is projected and not the gradient. Share 0 changes nothing. Source:
    OPLoRA (2510.13003) for the two-sided projection, there of low-rank adapters.
    """

    def __init__(
        self,
        share: float,
        parameters: Mapping[str, nn.Parameter],
        advance: Callable[[int, int], None] = ignore_progress,
    ) -> None:
        """Decompose the matrices; `advance(done, total)` is called after each."""
        matrices = {name: p for name, p in parameters.items() if share and _is_matrix(p)}
        self._parameters = matrices
        self._leading: dict[str, tuple[Tensor, Tensor]] = {}
        for name, parameter in matrices.items():
            self._leading[name] = leading(parameter.detach().flatten(1), share)
            advance(len(self._leading), len(matrices))
        self._before: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Remember the weights before a step."""
        self._before = snapshot(self._parameters)

    @torch.no_grad()
    def end(self) -> None:
        """Project the step taken since `begin`."""
        for name, parameter in self._parameters.items():
            before = self._before[name]
            step = (parameter - before).flatten(1)
            left, right = self._leading[name]
            step = step - left @ (left.T @ step)
            step = step - (step @ right) @ right.T
            parameter.copy_(before + step.view_as(parameter))


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim > 1 and min(parameter.flatten(1).shape) > 1


def leading(matrix: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return U_k (rows, k) and V_k (columns, k), the fewest directions that hold the share."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    energy = values.cpu().double().square().cumsum(dim=0)
    if not energy[-1]:  # a matrix of zeros has no direction
        return left[:, :0], right[:0].T
    count = int((energy < share * energy[-1]).sum()) + 1
    return left[:, :count].contiguous(), right[:count].T.contiguous()
