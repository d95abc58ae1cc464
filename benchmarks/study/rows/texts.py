"""Other texts and images to distil on than random sentences and the update's own images."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.baselines.fixed_sentences import fixed_sentences, on_texts
from benchmarks.study.rows.low_rank import KeepLora
from core.clip.model import ClipModel
from core.learning import methods as terms
from core.learning.methods import LearningMethod, Term, TrainingStart
from core.learning.vocabulary import Columns, GivenSentences, Sentences, sentences_of
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec


class OwnImages(LearningMethod):
    """`own_images`: ZSCL's terms on images without labels, beside VR-LwF's on the update's.

        L = L_ce + α L_vr + γ (L_zscl(S, S') + L_zscl(Sᵀ, S'ᵀ)),   S = s I_R E'ᵀ

    R is the reference set, of which no text is read. ZSCL takes E' of captions; these images have
    none, so E' are the teacher's features of 1,000 random sentences, drawn once, as in ZSCL's
    script for "LwF-VR". γ is `reference_weight`. ZSCL's temperature of 2 is
    `reference_temperature`, as the recipe's own is that of L_vr.

    Source: ZSCL (Zheng et al., 2303.06628), and VR-LwF (Ding et al., 2207.09248).
    """

    def __init__(self, recipe: Recipe, columns: Columns, *, reference_temperature: float) -> None:
        super().__init__(recipe, columns)
        self._of_reference = replace(recipe, temperature=reference_temperature)

    def prepare(self, beginning: TrainingStart) -> None:
        """Draw the sentences and encode them with each teacher."""
        self._sentences = fixed_sentences(beginning)

    def reference_terms(self) -> tuple[Term, ...]:
        """Return the image loss and the text loss."""
        pair = (
            terms.reference_images(self._of_reference),
            terms.reference_texts(self._of_reference),
        )
        return tuple(on_texts(term, lambda: self._sentences) for term in pair)


class KeepLoraOnOwnImages(KeepLora):
    """`keeplora_own_images`: the steps of `keeplora` with the terms of `own_images`."""

    def __init__(
        self, recipe: Recipe, columns: Columns, *, reference_temperature: float, **steps: Any
    ) -> None:
        super().__init__(recipe, columns, **steps)
        self._on_images = OwnImages(recipe, columns, reference_temperature=reference_temperature)

    def prepare(self, beginning: TrainingStart) -> None:
        """Draw the sentences, and train steps in place of the model's parameters."""
        self._on_images.prepare(beginning)
        super().prepare(beginning)

    def reference_terms(self) -> tuple[Term, ...]:
        """Return the image loss and the text loss on images without labels."""
        return self._on_images.reference_terms()


class NamedSentences(LearningMethod):
    """`named_sentences`: VR-LwF of which a share of the sentences are prompts of known names.

    The names are the classes of the retained measure `named`, drawn with replacement; all measures'
    if it is empty. `named_share` of each step's sentences are such prompts, and the others random.
    What is named there is not evidence of what is kept elsewhere, so only the other measures count.

    Source: the vocabulary is VR-LwF's (Ding et al., 2207.09248), which draws tokens at random to
    need no names; ZSCL (Zheng et al., 2303.06628) distils on real texts.
    """

    def __init__(self, recipe: Recipe, columns: Columns, *, named: str, named_share: float) -> None:
        super().__init__(recipe, columns)
        del named  # decides what the training spec has as its open classes
        self._count = round(named_share * recipe.sentences)

    def sentences(self, spec: TrainingSpec, student: ClipModel) -> Sentences:
        """Return prompts of the spec's open classes beside random sentences."""
        prompts = student.tokenise(spec.prompt.fill_all(spec.open_classes))
        others = sentences_of(
            replace(spec.recipe, sentences=spec.recipe.sentences - self._count), student
        )
        return Beside(first=GivenSentences(tokens=prompts, sentences=self._count), second=others)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Sentences of two kinds, one after the other."""

    first: Sentences
    second: Sentences

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw the sentences of both as token ids (sentences, context length)."""
        return torch.cat([self.first.draw(generator), self.second.draw(generator)])
