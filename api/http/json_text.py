"""JSON that clients send, and the texts in it that could not be stored."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.errors import FieldInvalid


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises ValueError, also when it is nested too deeply; FieldInvalid for an object that has two
    fields of one name, of which one would be ignored.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        ((name, count),) = Counter(name for name, _ in fields).most_common(1)
        raise FieldInvalid(f"An object has {count} fields {name[:100]!r}: send one.")
    return found


def require_storable(value: object) -> None:
    """Raise FieldInvalid for a text that no database holds, anywhere in a JSON value.

    That is one with a NUL or with half of a surrogate pair; the error points to it.
    """
    waiting = [("", value)]
    while waiting:
        pointer, found = waiting.pop()
        match found:
            case dict():
                waiting += [(pointer, key) for key in found]
                waiting += [(f"{pointer}/{_step(key)}", item) for key, item in found.items()]
            case list():
                waiting += [(f"{pointer}/{index}", item) for index, item in enumerate(found)]
            case str() if "\0" in found or not _is_unicode(found):
                raise FieldInvalid(
                    "A text holds neither NUL nor half of a surrogate pair.", pointer=pointer
                )


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _step(key: object) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")
