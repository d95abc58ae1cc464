"""The texts of an update: its classes' prompts, and random sentences, drawn at every step."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from core.clip.model import ClipModel
from core.engines.tokens import Frame, Tokenizer
from core.errors import ModelNotTrainable
from core.recipes.fields import LossTerm, Vocabulary
from core.recipes.rules import Recipe, competing_classes, distinct

NO_CLASS = -100  # the target of a captioned image, which torch's cross entropy leaves out


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Class names in column order, those that compete in the cross entropy first."""

    names: tuple[str, ...]
    competing: int
    seen: tuple[int, ...]  # columns of the classes learned before and the current ones
    distils: bool  # whether the loss has the class distillation term
    captions: bool = False  # whether some images have captions in place of a class

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        classes: Sequence[str],
        learned: Sequence[str],
        open_classes: Sequence[str],
        *,
        captions: bool = False,
        classed: bool = True,
    ) -> Self:
        """Return the columns that an update needs; names that differ only in case share one.

        None competes beside captions if no image is `classed`, or if there is one class alone.
        """
        competing = competing_classes(recipe, classes, learned, open_classes)
        if captions and not (classed and len(competing) > 1):
            competing = ()
        seen = distinct((*learned, *classes))
        # Added to the sentence term, it starts with the second update, as in VR-LwF's paper; alone
        # it starts with the first.
        distils = LossTerm.LWF in recipe.terms and (
            bool(learned) or LossTerm.VR not in recipe.terms
        )
        distils = distils and bool(seen)  # captions alone leave no class to distil
        names = distinct((*competing, *seen)) if distils else competing
        position = {name.lower(): column for column, name in enumerate(names)}
        return cls(
            names=names,
            competing=len(competing),
            seen=tuple(position[name.lower()] for name in seen if name.lower() in position),
            distils=distils,
            captions=captions,
        )

    def targets(self, classes: Sequence[str | None]) -> Tensor:
        """Return the column of each image's class, or NO_CLASS if it has none that competes."""
        if not self.competing:
            return torch.full((len(classes),), NO_CLASS)
        column = {name.lower(): place for place, name in enumerate(self.names[: self.competing])}
        return torch.tensor(
            [NO_CLASS if name is None else column[name.lower()] for name in classes],
            dtype=torch.long,
        )


def generator_of(*words: object) -> torch.Generator:
    """Return a new generator that is seeded with a hash of the words."""
    name = ":".join(str(word) for word in words).encode()
    seed = int.from_bytes(hashlib.sha256(name).digest()[:8], "little", signed=True)
    return torch.Generator().manual_seed(seed)


class Sentences(Protocol):
    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw M sentences as token ids (sentences, context length); `generator` decides them."""


@dataclass(frozen=True, kw_only=True)
class RandomSentences:
    """Sentences of L tokens: uniform draws from a pool, in the tokenizer's frame."""

    pool: Tensor  # token ids (tokens,), without those of the frame
    sentences: int  # M
    length: int  # L, with the frame: for CLIP's tokenizer, start, L − 2 draws and end
    frame: Frame

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw M sentences as token ids (sentences, context length)."""
        inside = self.length - (self.frame.context_length - self.frame.room)
        drawn = torch.randint(len(self.pool), (self.sentences, inside), generator=generator)
        return torch.from_numpy(self.frame.rows(self.pool[drawn].numpy()))


@dataclass(frozen=True, kw_only=True)
class GivenSentences:
    """Sentences drawn with replacement from given texts."""

    tokens: Tensor  # (texts, context length)
    sentences: int  # M

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw M sentences as token ids (sentences, context length)."""
        return self.tokens[torch.randint(len(self.tokens), (self.sentences,), generator=generator)]


def sentences_of(recipe: Recipe, model: ClipModel) -> Sentences:
    """Return the sentences that a recipe replays for a model.

    Raises ModelNotTrainable when all given texts have the same tokens, or when the tokens that the
    model was trained on are wanted and unknown.
    """
    if recipe.vocabulary is Vocabulary.FILE:
        tokens = model.tokenise(recipe.vocabulary_texts)
        if (tokens == tokens[0]).all():
            raise ModelNotTrainable(
                "The model's tokenizer encodes all texts of the vocabulary alike.",
                pointer="/recipe/vocabulary_texts",
            )
        return GivenSentences(tokens=tokens, sentences=recipe.sentences)
    pool = token_pool(recipe.vocabulary, model.tokenizer, model.trained_tokens)
    if not len(pool):
        raise ModelNotTrainable(
            "The model does not list the tokens that it was trained on: use vocabulary 'all'.",
            pointer="/recipe/vocabulary",
        )
    return RandomSentences(
        pool=pool,
        sentences=recipe.sentences,
        length=recipe.sentence_length,
        frame=model.tokenizer.frame,
    )


def token_pool(vocabulary: Vocabulary, tokenizer: Tokenizer, trained: tuple[int, ...]) -> Tensor:
    """Return the token ids that may occur inside a sentence, ascending, without special tokens."""
    ids = set(tokenizer.ordinary)
    if vocabulary is Vocabulary.TRAINED:
        ids &= set(trained)
    if vocabulary is Vocabulary.WORD_FINAL:
        ids &= set(tokenizer.words)
    return torch.tensor(sorted(ids), dtype=torch.long)


class Replay:
    """Draws new sentences for every step and encodes them with each frozen text tower.

    The towers (`readers`) encode the sentences of `block` steps at once. The block's length
    changes neither the stream of sentences nor, after a resume, their features, because the
    whole block is encoded again.
    """

    def __init__(
        self,
        sentences: Sentences,
        generator: torch.Generator,
        readers: Sequence[Callable[[Tensor], Tensor]],
        *,
        block: int,
    ) -> None:
        self._sentences = sentences
        self._generator = generator
        self._readers = readers
        self._length = block
        self._tokens = torch.empty(0)  # (steps, sentences, context length)
        self._features: tuple[Tensor, ...] = ()  # per reader (steps, sentences, width)
        self._used = 0

    def draw(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the next step's token ids (sentences, context) and each reader's P'."""
        if self._used == len(self._tokens):
            draws = [self._sentences.draw(self._generator) for _ in range(self._length)]
            self._encode(torch.stack(draws))
        self._used += 1
        step = self._used - 1
        return self._tokens[step], tuple(features[step] for features in self._features)

    def state(self) -> dict[str, Any]:
        """Return the state from which `restore` continues with the next sentence."""
        return {
            "generator": self._generator.get_state(),
            "tokens": self._tokens,
            "used": self._used,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state` returned."""
        self._generator.set_state(state["generator"])
        if len(state["tokens"]):
            self._encode(state["tokens"])
        self._used = state["used"]

    def _encode(self, tokens: Tensor) -> None:
        self._tokens, self._used = tokens, 0
        flat = tokens.flatten(0, 1)
        self._features = tuple(read(flat).view(*tokens.shape[:2], -1) for read in self._readers)
