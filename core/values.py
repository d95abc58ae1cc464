"""Typed ids, digests, and validation of names and texts."""

import hashlib
import html
import json
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import EnumType
from functools import cache, partial
from types import UnionType
from typing import Any, NewType, TypeVar, cast, get_args, get_origin, get_type_hints

from core.errors import CaptionInvalid, ClassInvalid, InUse, NameInvalid

Digest = NewType("Digest", str)  # 64 hex characters of a SHA-256
DatasetId = NewType("DatasetId", str)  # ds_...
SuiteId = NewType("SuiteId", str)  # suite_...
PolicyId = NewType("PolicyId", str)  # gate_...
ModelId = NewType("ModelId", str)  # model_...
JobId = NewType("JobId", str)  # job_...
KeyId = NewType("KeyId", str)  # key_...
WebhookId = NewType("WebhookId", str)  # hook_...
DeliveryId = NewType("DeliveryId", str)  # dlv_...
ErasureId = NewType("ErasureId", str)  # era_...
UploadId = NewType("UploadId", str)  # up_...
TrialId = NewType("TrialId", str)  # trial_...
PredictionId = NewType("PredictionId", str)  # pred_...
IndexId = NewType("IndexId", str)  # idx_...

Json = Mapping[str, Any]

_T = TypeVar("_T")

_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and a symbol that render as blanks
# Embeddings, overrides and isolates: they can affect what follows the name, and an override shows
# a name backwards. The directional marks that right-to-left scripts need are not among them.
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})  # Unicode categories
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def new_id(prefix: str, now: datetime) -> str:
    """Return a new id that sorts by creation time: prefix, 12 hex of milliseconds, 16 random."""
    return f"{prefix}_{int(now.timestamp() * 1000):012x}{secrets.token_hex(8)}"


def sha256(data: bytes | memoryview) -> Digest:
    """Return the SHA-256 of some bytes, in hex."""
    return Digest(hashlib.sha256(data).hexdigest())


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 image" and "2,000 images"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def canonical_json(value: object) -> bytes:
    """Encode a JSON value canonically: sorted keys, no white space, UTF-8, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def description(text: str, examples: Sequence[object] = ()) -> dict[str, object]:
    """Return the metadata of a dataclass's field that the API's document describes by a text."""
    return {"description": text} | ({"examples": list(examples)} if examples else {})


def json_lines(rows: Iterable[object]) -> bytes:
    """Encode JSON values canonically, a line each."""
    return b"".join(canonical_json(row) + b"\n" for row in rows)


def from_plain(kind: Callable[..., _T], value: Any) -> _T:
    """Return the value of a type from plain JSON, as `asdict` makes it, or from a row.

    Types are those of fields: dataclasses, tuples, frozen sets, mappings of these, enumerations,
    times, optional ones, and plain values.
    """
    read = _reader_of(cast("Any", kind))
    return cast("_T", value if read is None or value is None else read(value))


Reader = Callable[[Any], Any]  # of what is not None


@cache
def _reader_of(kind: Any) -> Reader | None:
    """Return the reader of a type, None if its values are plain; rows are read on a hot path."""
    parts, origin = get_args(kind), get_origin(kind)
    if origin is UnionType:
        return _reader_of(parts[0])
    if origin is tuple:
        return lambda items: tuple(from_plain(parts[0], item) for item in items)
    if origin is Mapping:
        return lambda items: {name: from_plain(parts[1], item) for name, item in items.items()}
    if hasattr(kind, "__dataclass_fields__"):
        return partial(_read_fields, kind)
    if isinstance(kind, EnumType):
        return kind
    others: dict[Any, Reader] = {frozenset: frozenset, datetime: _read_time}
    return others.get(origin or kind)


def _read_time(time: Any) -> datetime:
    """Return a time from JSON, or that of a row."""
    return datetime.fromisoformat(time) if isinstance(time, str) else time


def _read_fields(kind: Any, value: Mapping[str, Any]) -> Any:
    readers = _readers_of_fields(kind)
    fields = {name: item for name, item in value.items() if name in readers}
    for name, item in fields.items():
        read = readers[name]
        if read is not None and item is not None:
            fields[name] = read(item)
    return kind(**fields)


@cache
def _readers_of_fields(kind: Any) -> Mapping[str, Reader | None]:
    return {name: _reader_of(of_field) for name, of_field in get_type_hints(kind).items()}


def clean_name(name: str) -> str:
    """Return a name if it may stand in a URL. Raises NameInvalid."""
    if not _NAME.fullmatch(name):
        raise NameInvalid(name=name[:80])
    return name


def _clean_text(text: str, longest: int) -> str | None:
    text = unicodedata.normalize("NFC", text).strip()
    printable = not any(
        letter in BIDI_CONTROLS or unicodedata.category(letter) in _UNPRINTABLE for letter in text
    )
    return text if len(text) <= longest and printable and _is_visible(text) else None


def _is_visible(text: str) -> bool:
    """Return whether a text has a letter, digit, punctuation mark or symbol (an emoji is one).

    CLIP's tokenizer unescapes HTML twice, so "&nbsp;" and "&amp;nbsp;" are blanks to it.
    """
    unescaped = html.unescape(html.unescape(text))
    return any(
        unicodedata.category(letter)[0] in "LNPS" and letter not in _BLANK for letter in unescaped
    )


def clean_class(name: str) -> str:
    """Clean a class name: NFC, trimmed, 1 to 100 printable characters, one of them visible.

    Raises ClassInvalid.
    """
    cleaned = _clean_text(name, 100)
    if cleaned is None:
        raise ClassInvalid(name=name[:120])
    return cleaned


def clean_caption(caption: str) -> str:
    """Clean a caption: NFC, trimmed, 1 to 500 printable characters, one of them visible.

    Raises CaptionInvalid.
    """
    cleaned = _clean_text(caption, 500)
    if cleaned is None:
        raise CaptionInvalid(caption=caption[:120])
    return cleaned


def clean_reason(reason: str) -> str:
    """Return a reason without blanks around it, "" if nothing of it can be seen."""
    return reason.strip() if _is_visible(reason) else ""


def clean_file_label(name: str | None) -> str:
    """Return what is shown of an uploaded file's name.

    That is its last component without unprintable characters, cut to 100 characters.
    """
    last = re.split(r"[/\\]", name or "")[-1]
    shown = "".join(letter for letter in last if letter.isprintable())
    return shown[:100] or "unnamed"


def ignore_progress(done: int, total: int) -> None:
    """Report no progress."""
    del done, total


# The refusal to delete something that is in use.

_SENTENCES = {
    "aliases": "Aliases that point at it",
    "trials": "Trials that run with it",
    "descendants": "Versions that were trained from it",
    "jobs": "Unfinished jobs that need it",
    "versions": "Versions of models that learned from it",
    "suites": "Suites that were made of it",
    "models": "Models that it judges",
    "replaced": "Versions with erased images that it replaces",
    "indexes": "Indexes that have vectors by it",
    "vectors": "Versions that have its vectors in an index",
}


def require_unused(what: str, **uses: Sequence[object]) -> None:
    """Raise InUse, which names every use, unless there is none.

    `uses` are aliases, trials, descendants, jobs, versions, suites, models, versions that it
    replaces, indexes, or versions that have its vectors there, by name, number or id.
    """
    found = {kind: list(names) for kind, names in uses.items() if names}
    if found:
        sentences = (
            f"{_SENTENCES[kind]}: {', '.join(map(str, names))}." for kind, names in found.items()
        )
        facts: dict[str, Any] = found
        raise InUse(" ".join((f"{what} cannot be deleted.", *sentences)), **facts)
