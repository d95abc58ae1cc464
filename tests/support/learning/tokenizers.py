"""Small tokenizers of the kinds that published models bring, trained on the spot."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.normalizers import BertNormalizer, Replace
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel, Metaspace, Split
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer

TEXTS = (
    "a photo of a red panda in a green tree",
    "two blue squares beside a red square on a white wall",
    "children play football on a sunny beach while a brown dog watches them",
    "a drawing of many cats and dogs, and of an okapi at dusk",
    *(f"{letter} " * 3 for letter in ascii_lowercase + digits + ".,"),
)
# What each tokenizer's `tokenizer_config.json` says.
DESCRIBED: dict[str, dict[str, Any]] = {
    "siglip": {"pad_token": "</s>", "eos_token": "</s>"},  # it pads with its end token
    "siglip2": {
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "add_bos_token": False,
        "add_eos_token": True,
    },
    "clipa": {},  # BERT's own does not say either
    "worldwide": {"pad_token": {"content": "<pad>", "special": True}, "eos_token": "</s>"},
    "roberta": {"pad_token": "<pad>", "eos_token": "</s>"},
    "mt5": {"pad_token": "<pad>", "eos_token": "</s>"},
    "nllb": {"pad_token": "<pad>", "eos_token": "</s>"},
}
KINDS = tuple(DESCRIBED)


@functools.cache
def trained(kind: str) -> str:
    """The `tokenizer.json` of a kind."""
    return {
        "siglip": lambda: _unigram("$A </s>", ["<pad>", "</s>", "<unk>"]),
        "siglip2": _gemma,
        "clipa": _bert,
        "worldwide": lambda: _unigram("<s> $A </s>", ["<s>", "<pad>", "</s>", "<unk>"]),
        "roberta": _bytes,
        "mt5": lambda: _unigram("$A </s>", ["<pad>", "</s>", "<unk>"]),
        "nllb": lambda: _pieces(
            "eng_Latn $A </s>", ["<s>", "<pad>", "</s>", "<unk>", "eng_Latn", "fra_Latn"]
        ),
    }[kind]().to_str()


def size_of(kind: str) -> int:
    """The number of a tokenizer's tokens."""
    return Tokenizer.from_str(trained(kind)).get_vocab_size()


def write_tokenizer(folder: Path, kind: str) -> None:
    """Write a tokenizer's files, as transformers saves them."""
    (folder / "tokenizer.json").write_text(trained(kind))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", **DESCRIBED[kind]}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


def _unigram(frame: str, special: list[str]) -> Tokenizer:
    """As sentencepiece makes them: pieces with probabilities, words marked where they begin."""
    library = Tokenizer(Unigram())
    library.normalizer = normalizers.Sequence([normalizers.NFKC(), Replace(Regex(" {2,}"), " ")])
    library.pre_tokenizer = Metaspace()
    library.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    library.train_from_iterator(TEXTS, trainer)
    _frame(library, frame, special)
    return library


def _bytes() -> Tokenizer:
    """As GPT-2's: letters of bytes, and what begins a word has its space."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    library = Tokenizer(BPE())
    library.pre_tokenizer = ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(TEXTS, trainer)
    _frame(library, "<s> $A </s>", special)
    return library


def _gemma() -> Tokenizer:
    return _pieces("$A <eos>", ["<pad>", "<eos>", "<bos>", "<unk>"])


def _pieces(frame: str, special: list[str]) -> Tokenizer:
    """As sentencepiece makes them by merges."""
    library = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True))
    library.normalizer = Replace(" ", "▁")
    library.pre_tokenizer = Split("▁", "merged_with_next")
    trainer = BpeTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    library.train_from_iterator(TEXTS, trainer)
    _frame(library, frame, special)
    return library


def _bert() -> Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    library = Tokenizer(WordPiece(unk_token="[UNK]"))
    library.normalizer = BertNormalizer(lowercase=True)
    library.pre_tokenizer = BertPreTokenizer()
    trainer = WordPieceTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    library.train_from_iterator(TEXTS, trainer)
    _frame(library, "[CLS] $A [SEP]", special)
    return library


def _frame(library: Tokenizer, frame: str, special: list[str]) -> None:
    ids = [(token, number) for number, token in enumerate(special)]
    library.post_processor = TemplateProcessing(single=frame, special_tokens=ids)
