"""Texts as token ids, without torch: by CLIP's own tokenizer, or by one that a model brings."""

import gzip
import hashlib
import html
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Protocol
from weakref import WeakValueDictionary

import ftfy
import numpy as np
import regex
from numpy.typing import NDArray
from tokenizers import Tokenizer as Library
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from core.registry.architecture import brings_tokenizer, context_length, vocabulary_size
from core.values import Json

Rows = NDArray[np.int64]  # (sentences, context length)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The tokens around those of a text, which make it a row that a text tower reads."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    padding: int
    context_length: int

    @property
    def room(self) -> int:
        """The most tokens that stand inside."""
        return self.context_length - len(self.before) - len(self.after)

    @property
    def end(self) -> int:
        """The id at whose first place in a row the sentence ends."""
        return self.after[-1] if self.after else self.padding

    def rows(self, sentences: Sequence[Sequence[int]] | Rows) -> Rows:
        """Return sentences as rows; of longer ones the rest is cut off."""
        rows = np.full((len(sentences), self.context_length), self.padding, dtype=np.int64)
        for row, inside in zip(rows, sentences, strict=True):
            ids = [*self.before, *inside[: self.room], *self.after]
            row[: len(ids)] = ids
        return rows

    def lengths(self, rows: Rows) -> Rows:
        """Return the number of tokens of each row (sentences,), without padding."""
        ends = rows == self.end
        return np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, self.context_length)


class Tokenizer(Protocol):
    """The tokenizer of a text tower."""

    @property
    def frame(self) -> Frame:
        """The tokens around those of a text."""

    @property
    def special(self) -> Collection[int]:
        """The ids of the frame, which no text may hold."""

    @property
    def unknown(self) -> Collection[int]:
        """The ids that stand for letters that the tokenizer does not know."""

    @property
    def ordinary(self) -> Sequence[int]:
        """The ids that stand for pieces of texts, ascending."""

    @property
    def words(self) -> Collection[int]:
        """The ordinary ids of whole words, and of pieces at that edge of a word which is marked."""

    def encode(self, text: str) -> list[int]:
        """Return a text's token ids, without the frame's."""

    def rows(self, texts: Sequence[str]) -> Rows:
        """Return texts as rows; longer ones are cut."""


def tokenizer_of(config: Json, own: bytes | None) -> Tokenizer:
    """Return the tokenizer of a config: the one in the bytes of a `tokenizer.json`, or CLIP's.

    CLIP's is shared by all models with the same settings, one of its own by those that loaded ones
    have in common. Raises ValueError if the config names a tokenizer and there are no bytes: with
    CLIP's, its texts would mean something else.
    """
    if own is not None:
        return OwnTokenizer(own, config)
    if brings_tokenizer(config["model_cfg"]):
        raise ValueError("The config names a tokenizer, and the version has none.")
    return _clip_tokenizer(context_length(config), _settings(config).get("clean", "lower"))


def _settings(config: Json) -> Json:
    return config["model_cfg"]["text_cfg"].get("tokenizer_kwargs") or {}


# CLIP's own.

START, END = "<start_of_text>", "<end_of_text>"
MERGES = 49_152 - 256 - 2  # of the file's lines, those that CLIP was trained with
KEPT = 50_000  # words whose tokens are cached
# Words as CLIP splits texts; `regex` decides what a letter is, as it does for open_clip.
_WORD = regex.compile(
    rf"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+",
    regex.IGNORECASE,
)


class ClipTokenizer:
    """Texts as the token ids of Radford et al. (2021), section 2.4, as open_clip gives them.

    A word takes time that grows as n log n with its length; open_clip's own takes n squared.
    """

    def __init__(self, *, context_length: int, clean: str = "lower") -> None:
        """Create a tokenizer of sentences with `context_length` tokens.

        `clean` is open_clip's name of how texts are cleaned: lower, whitespace or canonicalize.
        """
        self._context_length = context_length
        self._clean = _CLEANERS[clean]

    @cached_property
    def frame(self) -> Frame:
        """A token that begins each sentence and one that ends it; zeros follow."""
        known = self.vocabulary
        return Frame(
            before=(known[START],),
            after=(known[END],),
            padding=0,
            context_length=self._context_length,
        )

    @property
    def special(self) -> Collection[int]:
        """The ids of the tokens that begin and end sentences."""
        return {*self.frame.before, *self.frame.after}

    @property
    def unknown(self) -> Collection[int]:
        """No ids: the tokens of single bytes make every letter."""
        return ()

    @property
    def ordinary(self) -> Sequence[int]:
        """All other ids."""
        return range(self.vocabulary[START])

    @property
    def words(self) -> Collection[int]:
        """The ids of tokens that end a word."""
        return {number for token, number in self.vocabulary.items() if token.endswith("</w>")}

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

    def rows(self, texts: Sequence[str]) -> Rows:
        """Return texts as rows; longer ones are cut."""
        return self.frame.rows([self.encode(text) for text in texts])


@lru_cache(maxsize=8)
def _clip_tokenizer(context_length: int, clean: str) -> ClipTokenizer:
    return ClipTokenizer(context_length=context_length, clean=clean)


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
def _merger() -> Library:
    model = BPE(
        vocab=dict(_vocabulary()),
        merges=list(_merges()),
        end_of_word_suffix="</w>",
        cache_capacity=KEPT,
    )
    merger = Library(model)
    merger.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)  # bytes as letters
    merger.add_special_tokens([START, END])
    return merger


def _letters() -> Mapping[int, str]:
    """Return the letter that stands for each byte: itself if it is printable, in CLIP's order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(256 + place) for place, byte in enumerate(others)}


# One that a model brings: a `tokenizer.json` of the library `tokenizers`.

UNKNOWN = ("<unk>", "[UNK]")
SENTINEL = regex.compile(r"▁?<extra_id_\d+>")  # T5's, which towers may lack
_MARKS = ("▁", "Ġ")  # the first letter of tokens that begin a word


class OwnTokenizer:
    """Texts as the token ids that open_clip's `HFTokenizer` gives them.

    The file says how texts are cut into tokens and which tokens stand around them. The config says
    the context's length, how texts are cleaned, and the token that pads them; what the file says of
    padding and truncation is not read.
    """

    def __init__(self, data: bytes, config: Json) -> None:
        """Read the file. Raises ValueError if it does not fit the config."""
        settings = _settings(config)
        self._shared = _shared(data)
        self._library = self._shared.library
        self._size = vocabulary_size(config)
        self.clean = settings.get("clean", "whitespace")
        self._clean = _CLEANERS[self.clean]
        described: Json = config.get("tokenizer_config") or {}
        self._stripped = self._id(described, "sep_token") if settings.get("strip_sep_token") else -1
        padding = self._id(described, "pad_token")
        encoding = self._library.encode("a")
        ids, added = encoding.ids, encoding.special_tokens_mask
        inside = len(self._library.encode("a", add_special_tokens=False).ids)
        first = added.index(0) if 0 in added else len(ids)
        self.frame = Frame(
            before=tuple(map(self._kept, ids[:first])),
            after=tuple(map(self._kept, ids[first + inside :])),
            padding=padding,
            context_length=context_length(config),
        )

    @cached_property
    def special(self) -> Collection[int]:
        """The ids of the frame and of padding."""
        return {*self.frame.before, *self.frame.after, self.frame.padding}

    @cached_property
    def unknown(self) -> Collection[int]:
        """The ids of the token that stands for unknown letters, if there is one."""
        found = map(self._library.token_to_id, UNKNOWN)
        return {one for one in found if one is not None}

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """The id of each token."""
        known: dict[str, int] = self._library.get_vocab(with_added_tokens=True)
        return known

    @cached_property
    def ordinary(self) -> Sequence[int]:
        """All ids but those of special and added tokens, and of single bytes."""
        return sorted(self._pieces.values())

    @cached_property
    def words(self) -> Collection[int]:
        """The ids of tokens that begin a word and consist of letters."""
        pieces = self._pieces
        for mark in _MARKS:
            begin = {t[1:]: n for t, n in pieces.items() if t.startswith(mark)}
            if begin:
                break
        else:  # marks what goes on in the place of what begins
            begin = {t: n for t, n in pieces.items() if not t.startswith("##")}
        return {number for token, number in begin.items() if token.isalpha()}

    def encode(self, text: str) -> list[int]:
        """Return a text's token ids, without the frame's."""
        ids = self._library.encode(self._clean(text), add_special_tokens=False).ids
        return [self._kept(one) for one in ids if one < self._size]

    def rows(self, texts: Sequence[str]) -> Rows:
        """Return texts as rows; longer ones are cut."""
        return self.frame.rows([self.encode(text) for text in texts])

    @cached_property
    def _pieces(self) -> Mapping[str, int]:
        others = {*self._library.get_added_tokens_decoder(), *self.special, *self.unknown}
        return {
            token: number
            for token, number in self.vocabulary.items()
            if number not in others and number < self._size and not _BYTE.fullmatch(token)
        }

    def _kept(self, one: int) -> int:
        return 0 if one == self._stripped else one  # as open_clip replaces it

    def _id(self, described: Json, name: str) -> int:
        token = described.get(name)
        found = self._library.token_to_id(token) if isinstance(token, str) else None
        if found is None:
            raise ValueError(f"its {name} {token!r} is none of its tokens")
        return int(found)


_BYTE = regex.compile(r"<0x[0-9A-F]{2}>")


class _Shared:
    """A tokenizer of the library that several versions share; it goes with the last of them."""

    def __init__(self, data: bytes) -> None:
        try:
            self.library = Library.from_buffer(data)
        except Exception as error:  # the library raises no other class
            raise ValueError(f"the library tokenizers cannot read it: {error}") from error
        self.library.no_truncation()
        self.library.no_padding()


_loaded: WeakValueDictionary[bytes, _Shared] = WeakValueDictionary()
_loading = Lock()


def _shared(data: bytes) -> _Shared:
    digest = hashlib.sha256(data).digest()
    with _loading:
        found = _loaded.get(digest)
        if found is None:
            found = _loaded[digest] = _Shared(data)
    return found


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
