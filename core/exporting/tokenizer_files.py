"""CLIP's tokenizer as files that libraries other than open_clip read."""

import json
from pathlib import Path

from core.clip.model import ClipModel

START, END = "<|startoftext|>", "<|endoftext|>"  # as the field writes them; open_clip's differ


def write_vocabulary(model: ClipModel, folder: Path) -> None:
    """Write `vocab.json`, from tokens to ids, and `merges.txt`, in the order of their ranks."""
    tokenizer = model.tokenizer
    ids = dict(tokenizer.encoder)
    for ours, theirs in ((tokenizer.sot_token_id, START), (tokenizer.eot_token_id, END)):
        del ids[tokenizer.decoder[ours]]
        ids[theirs] = ours
    ranks = tokenizer.bpe_ranks
    merges = [" ".join(pair) for pair in sorted(ranks, key=ranks.__getitem__)]
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    lines = "\n".join(["#version: 0.2", *merges])
    (folder / "merges.txt").write_text(lines + "\n", encoding="utf-8")


def write_tokenizer(model: ClipModel, folder: Path) -> None:
    """Write the files of `CLIPTokenizer`, which cuts texts to the model's context length."""
    write_vocabulary(model, folder)
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": model.context_length,
        **special,
    }
    for name, content in (
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", special),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
