"""Distillation that weighs most what the live version gets right, and a margin for its classes."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import ModelNotTrainable
from core.evaluation.queries import ClassQuery
from core.learning import losses
from core.learning.data import TrainingImages
from core.learning.methods import LearningMethod, Term, TrainingStart
from core.learning.student import Batch
from core.learning.vocabulary import Columns, generator_of
from core.recipes.fields import Precision
from core.recipes.rules import Recipe


class FocalDistillation(LearningMethod):
    """`focal`: positive-congruent training beside the recipe's own terms.

        L = L_recipe + λ · mean over images of (α + β [ŷ' = y]) KL(q ‖ p)

    p and q are the student's and the parent's distributions over the classes that compete, and ŷ'
    is the parent's answer. The images are those of the batch: the update's and, if the recipe has
    exemplars, these. λ, α and β are `focal_weight`, `focal_base` and `focal_extra`. The reference
    is the version that is live, so the recipe's teacher is `both`: this term takes the parent, the
    others take the root alone.

    Source: focal distillation of positive-congruent training (Yan et al., 2011.09161), with the KL
    divergence as its distance. α = 1 and β = 5 are the values of a published implementation, whose
    temperature is 100 with a factor τ²; here τ is the recipe's, 1 by default, and there is no τ²,
    because CLIP's logits have a scale of their own.
    """

    def __init__(
        self,
        recipe: Recipe,
        columns: Columns,
        *,
        focal_weight: float,
        focal_base: float,
        focal_extra: float,
    ) -> None:
        super().__init__(recipe, columns)
        self._weight, self._base, self._extra = focal_weight, focal_base, focal_extra

    def terms(self) -> tuple[Term, ...]:
        """Return the recipe's terms with the last teacher, and this one with the first."""
        own = [_with_teacher(term, -1) for term in super().terms()]
        focal = Term(name="focal", weight=self._weight, loss=self._loss)
        return (*own, _with_teacher(focal, 0))

    def _loss(self, batch: Batch) -> Tensor:
        competing = self.columns.competing
        return focal_distillation(
            batch.student.class_logits[:, :competing],
            batch.teachers[0].class_logits[:, :competing],
            batch.target,
            base=self._base,
            extra=self._extra,
            temperature=self.recipe.temperature,
        )


class SuitesToo(FocalDistillation):
    """`focal_suites`: focal distillation on validation parts of suites as well.

    Each step draws `suite_images` images of one suite; what is distilled are the probabilities of
    their own classes. The term has the weight of the other, and its gradient is added to the
    step's. No verdict sees validation parts. Training reads them here, so they can no longer choose
    the share of an update that fits. Source: as of `focal`, whose images are all those with labels.
    """

    def __init__(
        self, recipe: Recipe, columns: Columns, *, suite_images: int, **focal: float
    ) -> None:
        super().__init__(recipe, columns, **focal)
        self._count = suite_images

    def prepare(self, beginning: TrainingStart) -> None:
        """Read which images there are. Raises ModelNotTrainable without any, and in fp16."""
        spec, self._models = beginning.spec, beginning.models
        kept = spec.selection.kept if spec.selection else ()
        self._suites = [one for one in kept if isinstance(one, ClassQuery)]
        if not self._suites:
            raise ModelNotTrainable("There are no validation parts of suites.", pointer="/suites")
        if spec.recipe.precision is Precision.FP16:
            raise ModelNotTrainable("Its gradients would not be scaled.", pointer="/precision")
        preprocess, recipe = self._models.student.preprocess, spec.recipe
        self._images = [
            TrainingImages(
                one.entries,
                beginning.artifacts,
                preprocess,
                seed=recipe.seed,
                augment=recipe.augment,
            )
            for one in self._suites
        ]

    def adjust(
        self, parameters: Mapping[str, nn.Parameter], step: int, again: Callable[[], object]
    ) -> None:
        """Add the gradient of the term on a suite's images."""
        del parameters, again
        self.on_suites(step).backward()  # type: ignore[no-untyped-call]

    def on_suites(self, step: int) -> Tensor:
        """Return the weighted term on the images that the seed and the step choose, a scalar."""
        draws = generator_of("focal suites", self.recipe.seed, step)
        place = int(torch.randint(len(self._suites), (), generator=draws))
        suite, images = self._suites[place], self._images[place]
        chosen = torch.randperm(len(suite.entries), generator=draws)[: self._count].tolist()
        labels = [suite.entries[index].class_name for index in chosen]
        names = sorted(set(labels))
        student, teacher = self._models.student, self._models.teachers[0]
        tokens = student.tokenise(suite.prompt.fill_all(names))
        pixels = images.batch([(index, step) for index in chosen]).to(student.device)
        own = self._models.student_images(pixels)
        with torch.no_grad():
            was = losses.logits(
                self._models.teacher_images(pixels, own.detach())[0],
                teacher.encode_tokens(tokens),
                teacher.scale,
            )
        return self._weight * focal_distillation(
            losses.logits(own, student.encode_tokens(tokens), student.scale),
            was,
            torch.tensor([names.index(label) for label in labels], device=was.device),
            base=self._base,
            extra=self._extra,
            temperature=self.recipe.temperature,
        )


class MarginPreserving(FocalDistillation):
    """`margin`: focal distillation, and new classes that have to win by a margin.

    In the cross entropy b, the option `margin`, is added to the logits of the classes that the
    update brings, so that an image of a class learned before has to beat them by b more. Answers
    are given without it. Where nothing was learned before, b is added to all and changes nothing.

    Source: margin preserving training (Ricci et al., 2511.08322), b = 4. A second distillation
    there, from a model that is trained on all classes without regard to the live version, is left
    out: it costs a training of its own.
    """

    def __init__(self, recipe: Recipe, columns: Columns, *, margin: float, **focal: float) -> None:
        super().__init__(recipe, columns, **focal)
        self._margin = margin

    def prepare(self, beginning: TrainingStart) -> None:
        """Find what is added to each competing column: b where its class is new."""
        learned = {name.lower() for name in beginning.spec.learned}
        new = {name.lower() for name in beginning.spec.classes} - learned
        names = self.columns.names[: self.columns.competing]
        self._offset = self._margin * torch.tensor([float(name.lower() in new) for name in names])

    def terms(self) -> tuple[Term, ...]:
        """Return the terms of focal distillation, with the margin in the cross entropy."""
        return tuple(
            replace(term, loss=self._cross_entropy) if term.name == "ce" else term
            for term in super().terms()
        )

    def _cross_entropy(self, batch: Batch) -> Tensor:
        found = batch.student.class_logits[:, : self.columns.competing]
        return losses.cross_entropy(found + self._offset.to(found), batch.target)


def _with_teacher(term: Term, place: int) -> Term:
    """Return a term that reads one of the teachers."""

    def loss(batch: Batch) -> Tensor:
        return term.loss(replace(batch, teachers=batch.teachers[place:][:1]))

    return replace(term, loss=loss)


def focal_distillation(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    *,
    base: float,
    extra: float,
    temperature: float = 1.0,
) -> Tensor:
    """Return the mean over images of (α + β [ŷ' = y]) KL(q ‖ p); logits are (images, classes)."""
    log_p = F.log_softmax(student / temperature, dim=1)
    log_q = F.log_softmax(teacher / temperature, dim=1)
    by_image = F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=1)
    weight = base + extra * (teacher.argmax(dim=1) == target).to(by_image.dtype)
    return torch.mean(weight * by_image)
