"""Parse JSON that clients send, and refuse texts in it that no database stores."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.errors import FieldInvalid


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises ValueError when it is not JSON or is nested too deeply, and FieldInvalid for an object
    with two fields of the same name, because one of them would be ignored.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        ((name, count),) = Counter(name for name, _ in fields).most_common(1)
        raise FieldInvalid(f"An object has the field {name[:100]!r} {count} times: send it once.")
    return found


def require_storable(value: object) -> None:
    """Raise FieldInvalid for a text in a JSON value that no database stores; point to the text.

    Such a text holds a NUL or half of a surrogate pair.
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
                    "A string must not contain NUL or half of a surrogate pair.", pointer=pointer
                )


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _step(key: object) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")
