"""JSON that clients send, and the texts in it that could not be stored."""

import json
from typing import Any

from core.errors import FieldInvalid


def parse(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, also when it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


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
