"""CLIP's own tokenizer, which needs no torch."""

import gzip
import html
import string
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path

import ftfy
import numpy as np
import regex
from numpy.typing import NDArray
from tokenizers import Tokenizer as Merger
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

START, END = "<start_of_text>", "<end_of_text>"
MERGES = 49_152 - 256 - 2  # of the file's lines, those that CLIP was trained with
KEPT = 50_000  # words whose tokens are cached
# Words as CLIP splits texts; `regex` decides what a letter is, as it does for open_clip.
_WORD = regex.compile(
    rf"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+",
    regex.IGNORECASE,
)


class Tokenizer:
    """Texts as the token ids of Radford et al. (2021), section 2.4, as open_clip gives them.

    A word takes time that grows as n log n with its length; open_clip's own takes n squared.
    """

    def __init__(self, *, context_length: int, clean: str = "lower") -> None:
        """Create a tokenizer of sentences with `context_length` tokens.

        `clean` is open_clip's name of how texts are cleaned: lower, whitespace or canonicalize.
        """
        self.context_length = context_length
        self._clean = _CLEANERS[clean]

    @cached_property
    def start(self) -> int:
        """The id of the token that begins each sentence."""
        return self.vocabulary[START]

    @cached_property
    def end(self) -> int:
        """The id of the token that ends each sentence."""
        return self.vocabulary[END]

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """The id of each token; one at the end of a word ends with `</w>`."""
        return _vocabulary()

    @property
    def merges(self) -> Sequence[tuple[str, str]]:
        """The pairs of pieces that become one, the first ones first."""
        return _merges()

    def encode(self, text: str) -> list[int]:
        """Return a text's token ids, without start and end token."""
        words: list[str] = _WORD.findall(self._clean(text))
        ids: list[int] = _merger().encode(words, is_pretokenized=True).ids
        return ids

    def rows(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return sentences (texts, context length): start token, ids, end token, zeros.

        Longer texts are cut, and end with the end token.
        """
        rows = np.zeros((len(texts), self.context_length), dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [self.start, *self.encode(text)[: self.context_length - 2], self.end]
            row[: len(ids)] = ids
        return rows


@lru_cache(maxsize=8)
def tokenizer_of(context_length: int, clean: str) -> Tokenizer:
    """Return the tokenizer of these settings, which all models that have them share."""
    return Tokenizer(context_length=context_length, clean=clean)


@lru_cache(maxsize=1)
def _merges() -> Sequence[tuple[str, str]]:
    """Return the merges of the file that open_clip brings, read without importing it."""
    package = find_spec("open_clip")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("open_clip_torch brings CLIP's vocabulary and is not installed")
    file = Path(package.origin).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(file.read_bytes()).decode().split("\n")[1 : MERGES + 1]
    pairs = [line.split() for line in lines]
    return [(first, second) for first, second in pairs]


@lru_cache(maxsize=1)
def _vocabulary() -> Mapping[str, int]:
    letters = list(_letters().values())
    final = [f"{letter}</w>" for letter in letters]
    tokens = [*letters, *final, *("".join(pair) for pair in _merges()), START, END]
    return {token: place for place, token in enumerate(tokens)}


@lru_cache(maxsize=1)
def _merger() -> Merger:
    model = BPE(
        vocab=dict(_vocabulary()),
        merges=list(_merges()),
        end_of_word_suffix="</w>",
        cache_capacity=KEPT,
    )
    merger = Merger(model)
    merger.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)  # bytes as letters
    merger.add_special_tokens([START, END])
    return merger


def _letters() -> Mapping[int, str]:
    """Return the letter that stands for each byte: itself if it is printable, in CLIP's order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(256 + place) for place, byte in enumerate(others)}


# How texts are cleaned, by open_clip's names.


def _repaired(text: str) -> str:
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def _spaced(text: str) -> str:
    return " ".join(_repaired(text).split())


def _canonical(text: str) -> str:
    plain = _repaired(text).replace("_", " ").translate(_NO_PUNCTUATION)
    return " ".join(plain.lower().split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLEANERS: Mapping[str, Callable[[str], str]] = {
    "lower": lambda text: _spaced(text).lower(),
    "whitespace": _spaced,
    "canonicalize": _canonical,
}
