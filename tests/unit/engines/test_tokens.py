"""Texts become open_clip's tokens, without torch and in bounded time."""

import random
import subprocess
import sys

import open_clip
import pytest

from core.engines.tokens import ClipTokenizer

LETTERS = "eeeetttaaooinshrdlu bcdfgkmpvwy'!?.,_-<&;0159éßждの猫🥾🦊👩\u200d💻\u00a0\u2003"

SPELLINGS = [
    "",
    "   ",
    "a photo of a red panda.",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "abababababab!!!???!!",
    "größer 🥾 &amp;amp; it's we'll IT'S",
    "a<end_of_text>b <START_OF_TEXT> -<end_of_text>x <|endoftext|>",
    "supercalifragilisticexpialidocious" * 9,
    *("".join(random.Random(seed).choices(LETTERS, k=20 + 9 * seed)) for seed in range(60)),
    *("".join(random.Random(seed).choices(LETTERS[:19], k=400)) for seed in range(4)),
    # Letters that one release of Unicode has and an earlier one lacks.
    *(f"a{chr(point)}b" for point in range(0x80, 0x20000, 7) if not 0xD800 <= point < 0xE000),
]


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_every_text_has_open_clips_tokens(clean: str) -> None:
    own = open_clip.SimpleTokenizer(context_length=16, clean=clean)
    tokenizer = ClipTokenizer(context_length=16, clean=clean)
    assert tokenizer.rows(SPELLINGS).tolist() == own(SPELLINGS).tolist()
    assert [tokenizer.encode(one) for one in SPELLINGS[:70]] == [*map(own.encode, SPELLINGS[:70])]
    assert tokenizer.vocabulary == own.encoder
    assert list(tokenizer.merges) == sorted(own.bpe_ranks, key=own.bpe_ranks.__getitem__)


def test_a_word_of_a_million_letters_is_read() -> None:
    """open_clip's own tokenizer would take hours, as its time grows with the square."""
    letters = "".join(random.Random(1).choices(LETTERS[:19], k=1_000_000))
    assert len(ClipTokenizer(context_length=77).encode(letters)) > 300_000


def test_tokens_need_no_torch() -> None:
    check = (
        "import sys; from core.engines.tokens import ClipTokenizer; "
        "ClipTokenizer(context_length=77).rows(['a']); "
        "assert not {'torch', 'open_clip', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
