"""Tokenizers that models bring: open_clip's tokens, and nothing that a hostile file wants."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import open_clip
import pytest

from core.engines import own_tokenizer
from core.engines.own_tokenizer import problem_of, read_own_tokenizer
from core.engines.tokens import OwnTokenizer, tokenizer_of
from core.errors import BaseUnknown
from core.values import Json
from tests.support.learning.tokenizers import DESCRIBED, KINDS, trained, write_tokenizer
from tests.support.learning.towers import own_config
from tests.unit.engines.test_tokens import SPELLINGS

pytestmark = pytest.mark.filterwarnings("default")  # transformers warns of its own


def read(kind: str) -> OwnTokenizer:
    return OwnTokenizer(trained(kind).encode(), own_config(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_has_the_tokens_that_open_clip_gives_it(kind: str, tmp_path: Path) -> None:
    """By transformers, from the files of a folder, as users of open_clip have them read."""
    config = own_config(kind)
    data, described = read_own_tokenizer(_folder(tmp_path, kind), config)
    assert described == config["tokenizer_config"]
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(described))  # as exported
    theirs = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    ours = tokenizer_of(config, data)
    texts = [text for text in SPELLINGS[:70] if "end_of" not in text]
    assert ours.rows(texts).tolist() == theirs(texts).tolist()
    assert len({tuple(row) for row in ours.rows(texts).tolist()}) > 40


def test_no_other_tokenizer_stands_in_for_one_that_is_missing() -> None:
    with pytest.raises(ValueError, match="names a tokenizer, and the version has none"):
        tokenizer_of(own_config("siglip"), None)


@pytest.mark.parametrize(
    ("kind", "around"),
    [
        ("siglip", ((), (1,), 1)),
        ("siglip2", ((), (1,), 0)),
        ("clipa", ((2,), (0,), 0)),  # its [SEP] is stripped, as CLIPA was trained
        ("worldwide", ((0,), (2,), 1)),
    ],
)
def test_a_sentence_stands_in_its_frame_and_is_padded(kind: str, around: object) -> None:
    tokenizer = read(kind)
    frame, ids = tokenizer.frame, tokenizer.encode("a cat")
    found = tokenizer.rows(["a cat", "a cat " * 40])
    inside = [*frame.before, *ids, *frame.after]
    assert found[0].tolist() == inside + [frame.padding] * (16 - len(inside))
    assert frame.lengths(found).tolist() == [len(inside), 16]
    assert found[1, -1] == frame.end
    assert (frame.before, frame.after, frame.padding) == around


@pytest.mark.parametrize("kind", KINDS)
def test_the_replayed_vocabulary_holds_no_special_token(kind: str) -> None:
    tokenizer = read(kind)
    names = {number: token for token, number in tokenizer.vocabulary.items()}
    ordinary = [names[number] for number in tokenizer.ordinary]
    assert not [token for token in ordinary if re.fullmatch(r"<.*>|\[.*\]", token)]
    special = {"siglip": 3, "mt5": 3, "roberta": 5, "nllb": 6}.get(kind, 4)
    assert len(ordinary) == len(names) - special
    words = {names[number] for number in tokenizer.words}
    assert words < set(ordinary)
    marked = {"clipa": "square", "roberta": "Ġa"}.get(kind, "▁a")
    assert marked in words
    assert not [word for word in words if word.startswith("##") or word == "▁"]


def test_letters_that_a_tokenizer_does_not_know_have_a_token_in_common() -> None:
    tokenizer = read("siglip")
    assert not set(tokenizer.unknown).isdisjoint(tokenizer.encode("パンダ"))
    assert set(tokenizer.unknown).isdisjoint(tokenizer.encode("panda"))


def test_versions_that_have_a_tokenizer_in_common_load_it_once() -> None:
    assert read("siglip")._library is read("siglip")._library
    assert read("siglip")._library is not read("siglip2")._library


# What a base may not bring.


def _folder(path: Path, kind: str) -> Path:
    write_tokenizer(path, kind)
    return path


def changed(kind: str, **values: Any) -> bytes:
    return json.dumps(json.loads(trained(kind)) | values).encode()


def problem(
    kind: str, data: bytes | None = None, text_cfg: Json | None = None, **described: Any
) -> str:
    config = own_config(kind)
    config["model_cfg"]["text_cfg"] |= text_cfg or {}
    named = {k: v for k, v in DESCRIBED[kind].items() if not isinstance(v, dict)}
    wanted = config | {"described": named | described}
    return problem_of(trained(kind).encode() if data is None else data, wanted)


def with_model(kind: str, **values: Any) -> bytes:
    return changed(kind, model=json.loads(trained(kind))["model"] | values)


def more_pieces(*tokens: str) -> bytes:
    pieces = json.loads(trained("siglip"))["model"]["vocab"]
    return with_model("siglip", vocab=[*pieces, *([token, -9.0] for token in tokens)])


def framed(template: str, **ids: int) -> bytes:
    """A siglip tokenizer with another frame; the ids of its tokens may be any."""
    parts = [
        {"Sequence": {"id": "A", "type_id": 0}}
        if part == "$A"
        else {"SpecialToken": {"id": part, "type_id": 0}}
        for part in template.split()
    ]
    special = {one: {"id": one, "ids": [number], "tokens": [one]} for one, number in ids.items()}
    template_processing = {"single": parts, "pair": parts, "special_tokens": special}
    return changed("siglip", post_processor={"type": "TemplateProcessing", **template_processing})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_published_has_no_problem(kind: str) -> None:
    assert problem(kind) == ""


def test_t5s_sentinels_may_lie_beyond_the_embedding_and_are_never_read() -> None:
    """As they do in the published SigLIP tokenizers: 250,100 tokens, 250,000 embeddings."""
    data = more_pieces("▁<extra_id_1>", "<extra_id_0>")
    assert problem("siglip", data) == ""
    config = own_config("siglip")
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {}  # which keeps the signs
    ids = OwnTokenizer(data, config).encode("a <extra_id_0> cat <extra_id_1>")
    assert max(ids) < config["model_cfg"]["text_cfg"]["vocab_size"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lambda: problem("siglip", b"PK\x03\x04"), "cannot read it"),
        (lambda: problem("siglip", b'{"model": {}}'), "cannot read it"),
        (lambda: problem("siglip", b"[" * 100_000), "cannot read it"),
        (lambda: problem("siglip", more_pieces("zebra")), "beyond the"),
        (lambda: problem("siglip", text_cfg={"vocab_size": 50}), "beyond the 50 that"),
        (lambda: problem("siglip", framed("$A </s>", **{"</s>": 9999})), "has no embedding of"),
        (lambda: problem("siglip", framed("e $A e e", e=1)), "puts 3 tokens around"),
        (lambda: problem("worldwide", text_cfg={"eos_id": 1}), "eos_id, is 1"),
        (lambda: problem("siglip2", text_cfg={"pad_id": 1}), "pad_id is another"),
        (lambda: problem("siglip2", add_bos_token=True), "add_bos_token True"),
        (lambda: problem("siglip2", add_eos_token=False), "add_eos_token False"),
        (
            lambda: problem(
                "siglip",
                changed(
                    "siglip",
                    normalizer={"type": "Replace", "pattern": {"Regex": ".+"}, "content": ""},
                ),
            ),
            "different texts the same tokens",
        ),
    ],
)
def test_what_does_not_fit_is_named(found: Any, said: str) -> None:
    assert said in found()


def test_a_padding_token_that_is_not_named_is_asked_for(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "siglip")
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(BaseUnknown, match=r"its pad_token '\[PAD\]' is none of its tokens"):
        read_own_tokenizer(folder, own_config("siglip"))


def test_what_the_file_says_of_padding_and_truncation_is_not_heeded() -> None:
    own = {"direction": "Left", "pad_to_multiple_of": 8, "pad_type_id": 0, "pad_token": "<unk>"}
    data = changed(
        "siglip",
        padding={"strategy": {"Fixed": 900}, "pad_id": 2, **own},
        truncation={"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
    )
    texts = ["a cat", "a cat " * 40]
    rows = OwnTokenizer(data, own_config("siglip")).rows(texts)
    assert rows.tolist() == read("siglip").rows(texts).tolist()


def test_a_tokenizer_that_fills_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config = _folder(tmp_path, "siglip"), own_config("siglip")
    many = more_pieces(*(f"w{number}" for number in range(50_000)))
    (folder / "tokenizer.json").write_bytes(many)
    config["model_cfg"]["text_cfg"]["vocab_size"] = 60_000
    assert read_own_tokenizer(folder, config)[0] == many
    monkeypatch.setattr(own_tokenizer, "MEMORY_BYTES", 1024**2)  # less than it begins with
    with pytest.raises(BaseUnknown, match="too much memory or ends the process"):
        read_own_tokenizer(folder, config)


def test_a_tokenizer_that_takes_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_tokenizer, "SECONDS", 0.01)
    monkeypatch.setattr(own_tokenizer, "LOOK_EVERY_S", 0.02)
    with pytest.raises(BaseUnknown, match=r"more than 0\.01 seconds"):
        read_own_tokenizer(_folder(tmp_path, "siglip"), own_config("siglip"))


def test_a_file_of_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path, "siglip")
    monkeypatch.setattr(own_tokenizer, "MOST_TOKENIZER_BYTES", 1000)
    with pytest.raises(BaseUnknown, match=r"has more than 1,000 bytes"):
        read_own_tokenizer(folder, own_config("siglip"))


@pytest.mark.parametrize("content", ["[1, 2]", "{", "\xff"])
def test_a_config_beside_it_that_is_no_object_is_refused(content: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path, "siglip")
    (folder / "tokenizer_config.json").write_text(content, "latin-1")
    with pytest.raises(BaseUnknown, match="is no JSON object"):
        read_own_tokenizer(folder, own_config("siglip"))
