"""JSON that clients send: bounded before it becomes values, and with texts that are storable.

A value may take forty times the memory of its text: three bytes of `{},` are an object of 64 bytes
in a list. The bounds are therefore checked on the text, before any value is made.
"""

import json
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, ParamSpec, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from core.errors import FieldInvalid, Malformed

# Of one JSON text. The API's largest is a recipe with 100,000 texts as its vocabulary; 1,000 labels
# have the most parts, 3,003, and nothing has more than three levels.
MAX_VALUES = 110_000  # items of lists and fields of objects; an empty list or object counts twice
MAX_PARTS = 10_000  # fields, objects and lists, which take most memory and time
MAX_DEPTH = 32  # lists and objects within each other
MAX_DIGITS = 300  # of a whole number: the time to read one grows with their square
AT_ONCE = 64 * 1024  # bytes or characters of a text, which take a few milliseconds at worst

_STRING = re.compile(rb'"[^"]*"')  # in a text without escapes
_BRACKET = re.compile(rb"[\[\]{}]")
_HALF = re.compile("[\ud800-\udfff]")  # half of a surrogate pair

Model = TypeVar("Model", bound=BaseModel)
P = ParamSpec("P")
T = TypeVar("T")


async def read_json(request: Request, model: type[Model]) -> Model:
    """Return the body as a value of this model, refused as the framework refuses one.

    For routes that also take a form. Raises Malformed, FieldInvalid and RequestValidationError.
    """
    body = await request.body()
    return await read_aside(len(body), _read, body, model)


def _read(body: bytes, model: type[Model]) -> Model:
    value = parse_body(body)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        lines = [{**line, "loc": ("body", *line["loc"])} for line in found]
        raise RequestValidationError(lines, body=value) from error


async def read_aside(size: int, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `read` makes of a text of this size, in a thread if that may take long."""
    if size <= AT_ONCE:
        return read(*args, **kwargs)
    return await run_in_threadpool(read, *args, **kwargs)


def parse_body(body: bytes) -> Any:
    """Return the value of a JSON body. Raises Malformed and FieldInvalid."""
    try:
        return parse(body)
    except ValueError as error:
        raise Malformed("The body is not valid JSON.") from error


def parse(text: str | bytes, *, pointer: str = "") -> Any:
    """Return the value of a JSON text in UTF-8; `pointer` leads to the text, if it is in a field.

    Raises ValueError when it is not JSON, and FieldInvalid for a text beyond the bounds above, for
    an object with two fields of the same name, because one of them would be ignored, and for a
    string that no database stores.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    _require_bounded(data, pointer)
    decoded = data.removeprefix(BOM_UTF8).decode("utf-8", "surrogatepass")
    value = _DECODER.decode(decoded)
    if "\\u" in decoded or not _is_unicode(decoded):  # else every string is storable
        require_storable(value, pointer=pointer)
    return value


def require_storable(value: object, *, pointer: str = "") -> None:
    """Raise FieldInvalid for a string in a JSON value that no database stores, and point to it.

    Such a string holds a NUL or half of a surrogate pair. A key is pointed to by its object.
    """
    steps = _unstorable(value)
    if steps is not None:
        raise FieldInvalid(
            "A string must not contain NUL or half of a surrogate pair.",
            pointer=pointer + "".join(f"/{_escaped(step)}" for step in reversed(steps)),
        )


def _require_bounded(data: bytes, pointer: str) -> None:
    """Raise FieldInvalid for a text beyond a bound. Marks within strings count for nothing."""
    if _count(data, b"[{") <= MAX_DEPTH and _excess(data) is None:
        return
    excess = _excess_without_strings(data)
    if excess is not None:
        raise FieldInvalid(f"The JSON has more than {excess}.", pointer=pointer or None)


def _excess(data: bytes) -> str | None:
    """Return the bound that a text exceeds by its marks, those within strings included."""
    opened = _count(data, b"[{")
    if opened + data.count(b":") > MAX_PARTS:
        return f"{MAX_PARTS:,} fields, objects and lists"
    if opened + data.count(b",") > MAX_VALUES:
        return f"{MAX_VALUES:,} values"
    return None


def _excess_without_strings(data: bytes) -> str | None:
    """Return the bound that a text exceeds as far as it is JSON."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if data.count(b'"') > 2 * (MAX_VALUES + MAX_PARTS):  # values may be strings, fields have names
        return f"{MAX_VALUES:,} values"
    bare = _STRING.sub(b"", data)
    return _excess(bare) or _excess_depth(bare)


def _excess_depth(bare: bytes) -> str | None:
    depth = 0
    for bracket in _BRACKET.finditer(bare):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            return f"{MAX_DEPTH} lists and objects within each other"
        if depth < 0:  # not JSON from here on
            break
    return None


def _count(data: bytes, marks: bytes) -> int:
    return sum(data.count(mark) for mark in marks)


def _object(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        ((name, count),) = Counter(name for name, _ in fields).most_common(1)
        raise FieldInvalid(f"An object has the field {name[:100]!r} {count} times: send it once.")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise FieldInvalid(f"A whole number has more than {MAX_DIGITS} digits.")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole, parse_constant=_no_number)


def _unstorable(value: object) -> list[object] | None:
    """Return the steps to a string that no database stores, the last one first, or None.

    The steps are taken down once such a string is found: a path to each string would take more
    memory than the value.
    """
    items: Iterable[tuple[object, object]]
    if isinstance(value, str):
        return None if _is_storable(value) else []
    if isinstance(value, dict):
        if not all(map(_is_storable, value)):
            return []
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return None
    for step, item in items:
        steps = _unstorable(item)
        if steps is not None:
            return [*steps, step]
    return None


def _is_storable(text: str) -> bool:
    return "\0" not in text and _is_unicode(text)


def _is_unicode(text: str) -> bool:
    return text.isascii() or _HALF.search(text) is None


def _escaped(step: object) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")
