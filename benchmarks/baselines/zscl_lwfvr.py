"""The method that ZSCL's tables call LwF-VR, which distils on fixed random sentences."""

from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.baselines.fine_tuning import FineTuning
from core.errors import ModelNotTrainable
from core.learning.batch_features import Batch
from core.learning.data.vocabulary import RandomSentences, generator_of
from core.learning.methods import terms
from core.learning.methods.method import TrainingStart
from core.learning.methods.terms import Term

SENTENCES = 1000
LENGTH = 12  # ten free tokens between start and end
BLOCK = 500  # sentences encoded at once


class ZsclLwfVr(FineTuning):
    """`zscl_lwfvr`: L = L_ce + γ (image loss + text loss) on S = s I E'ᵀ and S' = s I' E'ᵀ.

    These are ZSCL's two losses with the update's own images, the parent as teacher and, as texts,
    1,000 random sentences drawn once. Their features E' are the teacher's, so the text tower is
    never distilled. This is not VR-LwF, which draws new sentences at every step and propagates
    their gradient through both towers. γ is `reference_weight`; the published temperature is 2.

    The released code differs in two ways: it distils on another batch of the same dataset, without
    augmentation, where this class uses the batch itself; and it fixes the logit scale, which the
    cross entropy trains here. In both, a sentence may contain start and end tokens, and ends at
    the first end token.

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
        student = beginning.models.student
        tokenizer = student.tokenizer
        sentences = RandomSentences(
            pool=torch.arange(tokenizer.vocab_size),
            sentences=SENTENCES,
            length=min(LENGTH, student.context_length),
            start=tokenizer.sot_token_id,
            end=tokenizer.eot_token_id,
            context_length=student.context_length,
        )
        tokens = sentences.draw(generator_of("fixed sentences", self.recipe.seed))
        with torch.no_grad():
            self._teacher_sentences = tuple(
                torch.cat([teacher.encode_tokens(block) for block in torch.split(tokens, BLOCK)])
                for teacher in beginning.models.teachers
            )

    def terms(self) -> tuple[Term, ...]:
        """Return L_ce, the image loss and the text loss."""
        reference = (terms.reference_images(self.recipe), terms.reference_texts(self.recipe))
        return (*super().terms(), *(self._on_sentences(term) for term in reference))

    def _on_sentences(self, term: Term) -> Term:
        """Return the term with the fixed sentences in place of the reference texts."""

        def loss(batch: Batch) -> Tensor:
            pairs = zip(batch.teachers, self._teacher_sentences, strict=True)
            teachers = tuple(replace(teacher, classes=rows) for teacher, rows in pairs)
            return term.loss(replace(batch, teachers=teachers))

        return replace(term, loss=loss)
