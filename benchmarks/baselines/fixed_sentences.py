"""The method that ZSCL's tables call LwF-VR, which distils on fixed random sentences."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.baselines.baseline import FineTuning
from core.errors import ModelNotTrainable
from core.learning import methods as terms
from core.learning.methods import Term, TrainingStart
from core.learning.student import Batch
from core.learning.vocabulary import RandomSentences, generator_of

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
