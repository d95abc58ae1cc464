"""The bounded tokenizer gives open_clip's tokens, in fewer steps and in bounded memory."""

import random

import open_clip
import pytest

from core.clip.inputs import KEPT_LENGTH, BoundedTokenizer

LETTERS = "eeeetttaaooinshrdlu bcdfgkmpvwy'!?.,&;0159éßждの猫🥾🦊👩\u200d💻"

TEXTS = [
    "",
    "   ",
    "a photo of a red panda.",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "abababababab!!!???!!",
    "größer 🥾 &amp;amp; it's we'll",
    "a<end_of_text>b <start_of_text>",
    "supercalifragilisticexpialidocious" * 9,
    *("".join(random.Random(seed).choices(LETTERS, k=20 + 9 * seed)) for seed in range(60)),
    *("".join(random.Random(seed).choices(LETTERS[:19], k=400)) for seed in range(4)),
]


@pytest.fixture(scope="module")
def bounded() -> BoundedTokenizer:
    return BoundedTokenizer(context_length=77)


def test_every_text_has_open_clips_tokens(bounded: BoundedTokenizer) -> None:
    own = open_clip.SimpleTokenizer(context_length=77)
    assert [bounded.encode(text) for text in TEXTS] == [own.encode(text) for text in TEXTS]
    assert bounded(TEXTS).equal(own(TEXTS))


def test_no_two_merges_give_the_same_piece(bounded: BoundedTokenizer) -> None:
    """Then the pair that makes a piece has a lower rank than any pair with that piece.

    So the leftmost of the lowest pairs can be merged alone, where open_clip merges all at once.
    """
    assert len({"".join(pair) for pair in bounded.bpe_ranks}) == len(bounded.bpe_ranks)


def test_the_steps_of_a_long_word_grow_as_its_length(
    bounded: BoundedTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counted(dict[tuple[str, str], int]):
        looked_up = 0

        def get(self, *args: object) -> object:  # type: ignore[override]
            Counted.looked_up += 1
            return super().get(*args)  # type: ignore[call-overload]

    monkeypatch.setattr(bounded, "bpe_ranks", Counted(bounded.bpe_ranks))
    steps = []
    for length in (500, 2000):
        Counted.looked_up = 0
        bounded.encode("".join(random.Random(1).choices(LETTERS[:19], k=length)))
        steps.append(Counted.looked_up)
    assert steps[1] < 5 * steps[0]


def test_words_are_kept_in_bounded_memory(bounded: BoundedTokenizer) -> None:
    words = set(bounded.cache)
    bounded.encode("x" * (KEPT_LENGTH + 1))
    bounded.encode("panda")
    bounded.encode("panda")
    assert set(bounded.cache) == words  # which nothing bounds
    kept = bounded._known.cache_info()
    assert kept.hits >= 1
    assert kept.maxsize is not None
    assert kept.currsize <= kept.maxsize
