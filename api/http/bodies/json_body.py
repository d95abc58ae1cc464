"""JSON bodies of routes that also take a form, and so read their bodies themselves."""

from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from api.http.strict_json import parse
from core.errors import Malformed

Model = TypeVar("Model", bound=BaseModel)


async def read_json(request: Request, model: type[Model]) -> Model:
    """Return the body as a value of this model, refused as the framework refuses one.

    Raises Malformed, FieldInvalid and RequestValidationError.
    """
    try:
        value = parse(await request.body())
    except ValueError as error:
        raise Malformed("The body is not valid JSON.") from error
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = [{**line, "loc": ("body", *line["loc"])} for line in error.errors()]
        raise RequestValidationError(lines, body=value) from error
