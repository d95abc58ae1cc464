"""The replayed vocabulary: what is drawn, and that it goes on exactly where it stopped."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from core.engines.tokens import ClipTokenizer, Frame
from core.errors import ModelNotTrainable
from core.learning.vocabulary import (
    RandomSentences,
    Replay,
    Sentences,
    generator_of,
    sentences_of,
    token_pool,
)
from core.recipes.fields import Vocabulary
from core.recipes.rules import Recipe
from tests.support.learning.tiny_clip import tiny_clip, tiny_config

START, END = 49406, 49407
FRAME = Frame(before=(98,), after=(99,), padding=0, context_length=8)


def drawn(recipe: Recipe, seed: int = 0) -> Tensor:
    return sentences_of(recipe, tiny_clip()).draw(generator_of("test", seed))


def small(count: int = 2) -> RandomSentences:
    return RandomSentences(pool=torch.arange(40), sentences=count, length=5, frame=FRAME)


class Teacher:
    """Counts what it is given to read; its feature of a sentence is the sentence."""

    def __init__(self) -> None:
        self.blocks: list[int] = []

    def __call__(self, tokens: Tensor) -> Tensor:
        self.blocks.append(len(tokens))
        return tokens.float()


def replay(block: int, sentences: Sentences | None = None) -> Replay:
    return Replay(sentences or small(), generator_of("replay"), [Teacher()], block=block)


def test_a_sentence_is_start_then_free_tokens_then_end_then_padding() -> None:
    tokens = drawn(Recipe(sentences=50, sentence_length=10))
    assert tokens.shape == (50, 16)
    assert (tokens[:, 0] == START).all()
    assert (tokens[:, 9] == END).all()
    assert (tokens[:, 10:] == 0).all()
    assert tokens[:, 1:9].max() < START


def test_all_tokens_are_every_id_but_start_and_end() -> None:
    pool = token_pool(Vocabulary.ALL, tiny_clip().tokenizer, ())
    assert torch.equal(pool, torch.arange(49406))


def test_the_first_and_the_last_id_of_the_pool_are_drawn() -> None:
    counts = Counter(small(4000).draw(generator_of("range"))[:, 1:4].flatten().tolist())
    assert set(counts) == set(range(40))
    assert max(counts.values()) < 1.5 * min(counts.values())


def test_word_final_tokens_end_a_word() -> None:
    tokenizer = tiny_clip().tokenizer
    pool = token_pool(Vocabulary.WORD_FINAL, tokenizer, ()).tolist()
    assert 49406 - len(pool) == 14925 - 2  # the two special tokens end no word either
    assert isinstance(tokenizer, ClipTokenizer)
    names = {number: token for token, number in tokenizer.vocabulary.items()}
    assert all(names[number].endswith("</w>") for number in pool)


def test_trained_tokens_come_from_the_models_config() -> None:
    config = tiny_config()
    config["perennial"] = {"trained_tokens": [START, 320, 9, END]}
    sentences = sentences_of(Recipe(vocabulary=Vocabulary.TRAINED), tiny_clip(config=config))
    inner = sentences.draw(generator_of("test"))[:, 1:9]
    assert set(inner.flatten().tolist()) == {9, 320}


def test_a_model_that_does_not_name_its_trained_tokens_is_refused() -> None:
    with pytest.raises(ModelNotTrainable):
        drawn(Recipe(vocabulary=Vocabulary.TRAINED))


def test_given_texts_are_drawn_whole() -> None:
    texts = ("a red panda", "an okapi at dusk")
    tokens = drawn(Recipe(vocabulary=Vocabulary.FILE, vocabulary_texts=texts, sentences=40))
    expected = {tuple(row) for row in tiny_clip().tokenise(texts).tolist()}
    assert {tuple(row) for row in tokens.tolist()} == expected


def test_texts_that_are_one_and_the_same_to_the_tokenizer_are_refused() -> None:
    with pytest.raises(ModelNotTrainable) as refusal:
        drawn(Recipe(vocabulary=Vocabulary.FILE, vocabulary_texts=("A cat", "a  cat")))
    assert refusal.value.pointer == "/recipe/vocabulary_texts"


def test_every_step_has_fresh_sentences_whatever_the_length_of_a_block() -> None:
    single, several, seen = replay(block=1), replay(block=4), set()
    for _ in range(9):
        tokens, (features,) = single.draw()
        again, (block_features,) = several.draw()
        assert torch.equal(tokens, again)
        assert torch.equal(features, block_features)
        seen.add(tuple(tokens.flatten().tolist()))
    assert len(seen) == 9


@pytest.mark.parametrize("steps", range(7))
def test_a_restored_stream_goes_on_with_the_next_sentence(steps: int) -> None:
    stream = replay(block=3)
    for _ in range(steps):
        stream.draw()
    state = stream.state()
    expected = [stream.draw()[0] for _ in range(5)]
    fresh = Replay(small(), generator_of("another"), [Teacher()], block=3)
    fresh.restore(state)
    for tokens in expected:
        drawn_tokens, (features,) = fresh.draw()
        assert torch.equal(drawn_tokens, tokens)
        assert torch.equal(features, tokens.float())


def test_a_restored_block_is_read_as_it_was_the_first_time() -> None:
    """The shape of a batch can decide the last bit of a feature."""
    stream = replay(block=3)
    stream.draw()
    teacher = Teacher()
    fresh = Replay(small(), generator_of("another"), [teacher], block=3)
    fresh.restore(stream.state())
    assert teacher.blocks == [6]
