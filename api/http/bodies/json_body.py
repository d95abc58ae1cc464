"""JSON bodies: a small one is read on the event loop, a large one in a thread."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.http.strict_json import parse
from core.errors import Malformed

AT_ONCE = 64 * 1024  # bytes or characters of a text, which take a few milliseconds at worst

Model = TypeVar("Model", bound=BaseModel)
P = ParamSpec("P")
T = TypeVar("T")


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
