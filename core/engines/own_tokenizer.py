"""Check the tokenizer that a base brings, in a confined process, before a version is made of it.

The file is hostile input: the library that parses it was not written for that, it may hold patterns
that take forever, and every id that it gives must have an embedding. The process has no
environment, no network and no files, and little memory and time.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from string import printable
from typing import Any

from core.artifacts.store import BytesCallback, ignore_bytes
from core.engines.tokens import SENTINEL, ClipTokenizer, Frame, OwnTokenizer
from core.errors import BaseUnknown
from core.images.confinement import confine
from core.registry.architecture import (
    MOST_TOKENIZER_BYTES,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    context_length,
    vocabulary_size,
)
from core.registry.text_towers import TEXT_CONFIG, pools_first_token
from core.values import Json

CONFIG_FILES = ("special_tokens_map.json", TOKENIZER_CONFIG_FILE)  # the later one prevails
MOST_CONFIG_BYTES = 1024**2
MOST_CLIP_BYTES = 16 * 1024**2  # CLIP's own has 2 MB
SECONDS, LOOK_EVERY_S, MEMORY_BYTES = 120, 1.0, 4 * 1024**3
FRAME = 2  # the most tokens around a sentence, which random ones have room for
# Which tokens stand for what where no file says so: BERT's, whose own files do not.
_NAMED = {"pad_token": "[PAD]", "sep_token": "[SEP]"}
_SAVED = "Save both files by save_pretrained of transformers"
_ADDS = {"add_bos_token": "bos_token", "add_eos_token": "eos_token"}

_ROOT = Path(__file__).parents[2]
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "getattr(sys, 'set_lazy_imports_filter', id)(lambda *_: False); "
    "from core.engines.own_tokenizer import main; main()"
)


def read_own_tokenizer(
    folder: Path, config: Json, moved: BytesCallback = ignore_bytes
) -> tuple[bytes, Json]:
    """Return the bytes of a folder's tokenizer, and the `tokenizer_config` that goes with it.

    `moved` is called while the confined process works, which takes seconds for a large one.
    Raises BaseUnknown, with what is wrong, unless it fits the `model_cfg` of the config.
    """
    described = _described(folder)
    data = _read(folder / TOKENIZER_FILE, MOST_TOKENIZER_BYTES)
    kept = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # as AutoTokenizer of transformers wants
        "model_max_length": context_length(config),
        **{name: described.get(name, token) for name, token in _NAMED.items()},
    }
    if not (config["model_cfg"]["text_cfg"].get("tokenizer_kwargs") or {}).get("strip_sep_token"):
        del kept["sep_token"]
    parts = {name: config[name] for name in ("model_cfg", TEXT_CONFIG) if name in config}
    wanted = {**parts, "tokenizer_config": kept, "described": described}
    if problem := _ask(json.dumps(wanted).encode() + b"\n" + data, moved):
        raise BaseUnknown(f"The {TOKENIZER_FILE} in {folder.name!r} cannot be used: {problem}.")
    return data, kept


def require_clips_tokenizer(folder: Path) -> None:
    """Raise BaseUnknown if a folder has a tokenizer with other tokens than CLIP's own."""
    name = next((one for one in (TOKENIZER_FILE, "vocab.json") if (folder / one).is_file()), None)
    if name is None:
        return
    try:
        found = json.loads(_read(folder / name, MOST_CLIP_BYTES))
        tokens = found["model"]["vocab"] if name == TOKENIZER_FILE else found
        own = ClipTokenizer(context_length=77).vocabulary
        same = all(tokens.get(token) == number for token, number in own.items())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BaseUnknown(f"The {name} in {folder.name!r} is no tokenizer.") from error
    if not same:
        raise BaseUnknown(
            f"The {name} in {folder.name!r} has other tokens than CLIP's tokenizer, and a "
            "CLIPModel with these cannot be taught."
        )


def _described(folder: Path) -> dict[str, Any]:
    """Return which tokens the files beside a tokenizer name, and which of them it adds."""
    found: dict[str, Any] = {}
    for name in CONFIG_FILES:
        if not (folder / name).is_file():
            continue
        try:
            value = json.loads(_read(folder / name, MOST_CONFIG_BYTES))
            for key in (*_NAMED, *_ADDS, *_ADDS.values()):
                one = value.get(key)
                one = one.get("content") if isinstance(one, dict) else one
                if isinstance(one, str | bool):
                    found[key] = one
        except (ValueError, AttributeError, RecursionError) as error:
            raise BaseUnknown(f"The {name} in {folder.name!r} is no JSON object.") from error
    return found


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise BaseUnknown(f"{path.parent.name!r} has no readable {path.name}.") from error
    if len(data) > most:
        raise BaseUnknown(f"The {path.name} in {path.parent.name!r} has more than {most:,} bytes.")
    return data


def _ask(request: bytes, moved: BytesCallback) -> str:
    """Return what the confined process finds wrong, or nothing."""
    few = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    began, unsent = time.monotonic(), [request]
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-c", _PROGRAM, str(_ROOT), str(MEMORY_BYTES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**few, "TOKENIZERS_PARALLELISM": "false"},  # none of the service's secrets
        cwd="/",
    ) as process:
        try:
            while time.monotonic() - began < SECONDS:
                with suppress(subprocess.TimeoutExpired):
                    said, _ = process.communicate(unsent.pop() if unsent else None, LOOK_EVERY_S)
                    break
                moved(0)  # it is bounded: a job's lease may be renewed meanwhile
            else:
                return f"it takes more than {SECONDS} seconds to read it and some texts with it"
        finally:
            process.kill()
    try:
        return str(json.loads(said)["problem"])[:300]
    except (ValueError, LookupError, TypeError):  # it has ended before it could say anything
        return "reading it, or some texts with it, takes too much memory or ends the process"


# The program of the confined process.


def main() -> None:
    """Read a config and a tokenizer from standard input; write what is wrong to standard output.

    The argument is how many bytes of memory that may take.
    """
    confine(int(sys.argv[1]))
    head, _, data = sys.stdin.buffer.read().partition(b"\n")
    problem = problem_of(data, json.loads(head))
    sys.stdout.write(json.dumps({"problem": problem}))
    sys.stdout.flush()
    os._exit(0)  # what it has read is freed with the process


def problem_of(data: bytes, wanted: Json) -> str:
    """Return why a tokenizer does not fit a config, or nothing.

    `wanted` has `model_cfg`, `tokenizer_config`, and what the files `described`.
    """
    size = vocabulary_size(wanted)
    try:
        tokenizer = OwnTokenizer(data, wanted)
    except ValueError as error:
        return str(error)
    beyond = [token for token, number in tokenizer.vocabulary.items() if number >= size]
    if odd := [token for token in beyond if not SENTINEL.fullmatch(token)]:
        return (
            f"{len(odd):,} of its tokens have ids beyond the {size:,} that the text tower has "
            f"embeddings of, such as {min(odd)[:40]!r}"
        )
    return (
        _frame_problem(tokenizer, wanted, size)
        or _described_problem(tokenizer, wanted["described"])
        or _reading_problem(tokenizer, size)
    )


def _frame_problem(tokenizer: OwnTokenizer, wanted: Json, size: int) -> str:
    frame, text = tokenizer.frame, wanted["model_cfg"]["text_cfg"]
    around = [*frame.before, *frame.after]
    if any(one >= size for one in (*around, frame.padding)):
        return "it frames sentences with a token that the text tower has no embedding of"
    if len(around) > FRAME or frame.room < 1:
        return f"it puts {len(around)} tokens around each sentence, and {FRAME} are supported"
    if text.get("pool_type") == "eos" and frame.end != text.get("eos_id", 2):
        return (
            f"it ends sentences with token {frame.end}, and the text tower's end token, eos_id, is "
            f"{text.get('eos_id', 2)}"
        )
    foreign = wanted.get(TEXT_CONFIG, {})
    if foreign.get("pad_token_id", text.get("pad_id", frame.padding)) != frame.padding:
        return f"its pad_token has id {frame.padding}, and the text tower's pad_id is another"
    return _foreign_frame_problem(frame, wanted) if foreign else ""


def _foreign_frame_problem(frame: Frame, wanted: Json) -> str:
    """Return why a text tower of transformers cannot read sentences in a frame, or nothing."""
    if frame.end != (end := wanted[TEXT_CONFIG]["eos_token_id"]):
        return f"it ends sentences with token {frame.end}, and the text tower with {end}. {_SAVED}"
    if pools_first_token(wanted["model_cfg"]) and not frame.before:
        return f"it puts no token before a sentence, at which the text tower pools. {_SAVED}"
    return ""


def _described_problem(tokenizer: OwnTokenizer, described: Json) -> str:
    around = {*tokenizer.frame.before, *tokenizer.frame.after}
    for flag, name in _ADDS.items():
        added = tokenizer.vocabulary.get(described.get(name, "")) in around
        if described.get(flag, added) != added:
            return (
                f"{TOKENIZER_CONFIG_FILE} says {flag} {described[flag]}, and it "
                f"{'adds' if added else 'does not add'} that token. {_SAVED}"
            )
    return ""


def _reading_problem(tokenizer: OwnTokenizer, size: int) -> str:
    """Return what is wrong with how texts are read: long ones of every letter among them."""
    texts = ["a photo of a cat", "two dogs", *(f"{letter * 2000}!" for letter in printable)]
    found: Collection[list[int]] = [tokenizer.encode(text) for text in texts]
    if any(not 0 <= one < size for ids in found for one in ids):
        return "it gives ids that the text tower has no embedding of"
    first, second, *_ = found
    if not first or first == second:
        return "it gives different texts the same tokens"
    return ""
