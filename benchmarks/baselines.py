"""Methods that others published, to compare with."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from core.datasets.manifests import ManifestEntry
from core.errors import ModelNotTrainable, TrainingDiverged
from core.learning import losses
from core.learning import methods as terms
from core.learning.data import TrainingImages, choose_exemplars
from core.learning.losses import logits
from core.learning.methods import LearningMethod, Term, TrainingStart
from core.learning.mixing import TrainingEnd, mix, snapshot
from core.learning.student import Batch, Features
from core.learning.vocabulary import Columns, RandomSentences, generator_of
from core.recipes.fields import ExemplarChoice, Method
from core.recipes.rules import Recipe, distinct
from core.values import Json

# A-GEM's memory: image-text pairs, and exemplars of earlier updates.


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


# Plain fine-tuning, on which the baselines build.


class FineTuning(LearningMethod):
    """L = L_ce, whatever terms and mixing the recipe chooses."""

    scores = False
    replays_vocabulary = False

    def terms(self) -> tuple[Term, ...]:
        """Return L_ce."""
        return (terms.cross_entropy(self.columns),)

    def reference_terms(self) -> tuple[Term, ...]:
        """Return no terms."""
        return ()

    def conclude(self, ending: TrainingEnd) -> Json:
        """Leave the weights as they are."""
        del ending
        return {}


# Averaged gradient episodic memory (A-GEM).


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


# The geodesic flow between two subspaces, and a distance of features along it.


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


# Distillation along geodesics between the subspaces that a batch's features span (GeoDL).


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


# The diagonal of the Fisher information, and a mean of weights in proportion to it.


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


# Incremental moment matching by the mode: mix weights in proportion to Fisher information.


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


# Rectification of a weight: a low-rank correction and a scale of each output (RKR).


PROJECTIONS = {"proj", "text_projection"}  # open_clip's bare matrices, which are stored (in, out)


class Rectification(nn.Module):
    """W' = (1 + s) ⊙ (W + A B), a parametrisation of a weight W by A, B and s.

    A (out, rank) and s (out,) start at zero, where W' is W, and B (rank, in) at random with
    variance 1/in. The weight of a convolution is a matrix (out, in · height · width). With
    `transposed` the weight is stored (in, out).
    """

    def __init__(
        self, weight: Tensor, generator: torch.Generator, *, rank: int, transposed: bool = False
    ) -> None:
        super().__init__()
        self.transposed = transposed
        outputs, inputs = self._matrix(weight).shape
        drawn = torch.randn(rank, inputs, generator=generator) / inputs**0.5
        self.A = nn.Parameter(weight.new_zeros(outputs, rank))
        self.B = nn.Parameter(drawn.to(weight))
        self.s = nn.Parameter(weight.new_zeros(outputs))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W', stored as the weight is and computed in its precision."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = (1 + self.s[:, None]) * (self._matrix(weight) + self.A @ self.B)
        return (matrix.T if self.transposed else matrix).reshape(weight.shape)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.T if self.transposed else weight.flatten(1)


def linear_weights(
    network: nn.Module, names: Iterable[str]
) -> Iterator[tuple[str, nn.Module, str, bool]]:
    """Yield the names of linear weights, each with its layer, its name there and `transposed`.

    These are the weights of linear layers, attention, convolutions and projections, but neither
    embeddings nor the weights of normalisations.
    """
    for name in names:
        path, _, leaf = name.rpartition(".")
        layer = network.get_submodule(path)
        is_weight = leaf == "weight" and isinstance(layer, nn.Linear | nn.Conv2d)
        if is_weight or leaf.endswith("proj_weight") or leaf in PROJECTIONS:
            yield name, layer, leaf, leaf in PROJECTIONS


# Rectification-based knowledge retention (RKR).


RANK = 4


class Rkr(FineTuning):
    """`rkr`: L = L_ce, which trains a rectification (A, B, s) of each linear weight and no more.

        W' = (1 + s) ⊙ (W + A B)

    All other tensors of the trained part, the logit scale included, stay as they are. The update
    publishes W' in place of W, so the next update rectifies the weights of this one. The original
    keeps W and selects each task's rectification by the task's identity. Here an image's session is
    unknown and one model classifies among all classes, as in the code released with VR-LwF.

    That code trains the same A, B and s in all sessions, with dropout on A B, and only in the
    linear layers of the transformer blocks. The original rectifies convolutions too, as this class
    does. Both scale a layer's whole output, where this class leaves the bias unscaled. The default
    rate is ten times that of other methods, as in the released code.

    Source: RKR (Singh et al., Rectification-based Knowledge Retention for Continual Learning,
    2021).
    """

    def prepare(self, beginning: TrainingStart) -> None:
        """Freeze the model, and train rectifications in place of its parameters."""
        network, parameters = beginning.models.student.network, beginning.models.parameters
        frozen = dict(parameters)
        parameters.clear()
        self._rectified = []
        for parameter in frozen.values():
            parameter.requires_grad_(False)
        for name, layer, leaf, transposed in linear_weights(network, frozen):
            generator = generator_of("rectification", name, self.recipe.seed)
            rectification = Rectification(frozen[name], generator, rank=RANK, transposed=transposed)
            parametrize.register_parametrization(layer, leaf, rectification)
            parameters.update(rectification.named_parameters(prefix=name))
            self._rectified.append((layer, leaf))

    def conclude(self, ending: TrainingEnd) -> Json:
        """Replace each weight by its rectified value; return the number of weights."""
        del ending
        for layer, leaf in self._rectified:
            parametrize.remove_parametrizations(layer, leaf, leave_parametrized=True)
        return {"rectified": len(self._rectified)}


# The method that ZSCL's tables call LwF-VR, which distils on fixed random sentences.


SENTENCES = 1000

LENGTH = 12  # ten free tokens between start and end

BLOCK = 500  # sentences encoded at once


def fixed_sentences(beginning: TrainingStart) -> tuple[Tensor, ...]:
    """Return each teacher's features (sentences, width) of random sentences, drawn once.

    As in ZSCL's released code, a sentence may contain start and end tokens, and ends at the first
    end token.
    """
    student = beginning.models.student
    tokenizer = student.tokenizer
    sentences = RandomSentences(
        pool=torch.tensor(sorted({*tokenizer.ordinary, *tokenizer.special})),
        sentences=SENTENCES,
        length=min(LENGTH, student.context_length),
        frame=tokenizer.frame,
    )
    tokens = sentences.draw(generator_of("fixed sentences", beginning.spec.recipe.seed))
    with torch.no_grad():
        return tuple(
            torch.cat([teacher.encode_tokens(block) for block in torch.split(tokens, BLOCK)])
            for teacher in beginning.models.teachers
        )


def on_texts(term: Term, features: Callable[[], Sequence[Tensor]]) -> Term:
    """Return one of ZSCL's terms with each teacher's features of other texts as E'."""

    def loss(batch: Batch) -> Tensor:
        pairs = zip(batch.teachers, features(), strict=True)
        teachers = tuple(replace(teacher, classes=rows) for teacher, rows in pairs)
        return term.loss(replace(batch, teachers=teachers))

    return replace(term, loss=loss)


class ZsclLwfVr(FineTuning):
    """`zscl_lwfvr`: L = L_ce + γ (image loss + text loss) on S = s I E'ᵀ and S' = s I' E'ᵀ.

    These are ZSCL's two losses with the update's own images, the parent as teacher and, as texts,
    1,000 random sentences drawn once. Their features E' are the teacher's, so the text tower is
    never distilled. This is not VR-LwF, which draws new sentences at every step and propagates
    their gradient through both towers. γ is `reference_weight`; the published temperature is 2.

    The released code differs in two ways: it distils on another batch of the same dataset, without
    augmentation, where this class uses the batch itself; and it fixes the logit scale, which the
    cross entropy trains here.

    Source: ZSCL (Zheng et al., 2303.06628), its script for "LwF-VR".
    """

    def prepare(self, beginning: TrainingStart) -> None:
        """Draw the sentences and encode them with each teacher.

        Raises ModelNotTrainable for a recipe with micro-batches.
        """
        if self.recipe.micro_batch:
            raise ModelNotTrainable(
                "zscl_lwfvr compares the images of a batch: read it whole.",
                pointer="/recipe/micro_batch",
            )
        self._sentences = fixed_sentences(beginning)

    def terms(self) -> tuple[Term, ...]:
        """Return L_ce, the image loss and the text loss."""
        reference = (terms.reference_images(self.recipe), terms.reference_texts(self.recipe))
        fixed = (on_texts(term, lambda: self._sentences) for term in reference)
        return (*super().terms(), *fixed)


# The baselines by name, each with its class and the recipe values that it requires.


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A method that exists only for comparison.

    The recipe's `method` decides which columns an update encodes, so each baseline sets the
    method with the same columns; `make` makes the baseline itself.
    """

    make: Callable[..., LearningMethod]  # of a recipe, its columns, and the options by name
    recipe: Json = field(default_factory=dict)  # defaults, which a row's own values override
    options: Json = field(default_factory=dict)  # what no recipe can name, likewise
    remembers: bool = False  # whether it uses the reference set
    validates: bool = False  # whether it reads validation parts


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "a_gem": Baseline(
            make=AGem, recipe={"method": Method.FT, "exemplar_batch": 100}, remembers=True
        ),
        "geodl": Baseline(make=GeoDl, recipe={"method": Method.LWF}),
        "imm_mode": Baseline(make=ModeImm, recipe={"method": Method.IMM_MEAN}, remembers=True),
        "rkr": Baseline(make=Rkr, recipe={"method": Method.FT, "learning_rate": 3e-3}),
        "zscl_lwfvr": Baseline(make=ZsclLwfVr, recipe={"method": Method.FT, "temperature": 2.0}),
    }
)
