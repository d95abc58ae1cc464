"""Exception handlers: a problem document for everything that a route may raise."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from api.http.middleware import SECURITY_HEADERS
from api.http.problems import (
    MOST_ERRORS,
    OMITTED,
    clipped,
    problem,
    problem_of,
    request_id,
    status_of,
    unexpected,
)
from core.errors import FieldInvalid, FieldUnknown, Malformed, PerennialError

_UNKNOWN = "extra_forbidden"  # pydantic's type of the error

log = logging.getLogger(__name__)


def register(app: FastAPI) -> None:
    """Register handlers that answer every error of the app with a problem document."""
    app.exception_handler(PerennialError)(perennial_error)
    app.exception_handler(RequestValidationError)(invalid_request)
    app.exception_handler(HTTPException)(http_error)
    app.exception_handler(ClientDisconnect)(client_disconnected)
    app.exception_handler(Exception)(internal_error)


def perennial_error(request: Request, error: PerennialError) -> Response:
    """Answer an expected error; the log says more of one that no client can cause."""
    if status_of(type(error)) == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error(error.message, extra={"code": error.code, "facts": error.facts})
    return problem_of(request, error)


def invalid_request(request: Request, error: RequestValidationError) -> Response:
    """Answer a validation error of the framework, with one line for each of the first fields."""
    found = error.errors()
    lines = [_line(line, error.body) for line in found[:MOST_ERRORS]]
    omitted = len(found) - len(lines)
    unknown = any(line["type"] == _UNKNOWN for line in found)
    summary = FieldUnknown() if unknown else FieldInvalid()
    details = [f"{line['pointer']}: {line['detail']}" for line in lines]
    return problem(
        request,
        status=422,
        code=summary.code,
        title=summary.message,
        detail="; ".join([*details, f"and {omitted:,} more"] if omitted else details),
        errors=lines,
        facts={OMITTED: omitted} if omitted else None,
    )


def _line(line: Any, body: Any) -> dict[str, str]:
    is_unknown = line["type"] == _UNKNOWN
    return {
        "code": "field_unknown" if is_unknown else "field_invalid",
        "pointer": clipped(_pointer(line["loc"], body)),
        "detail": "This field is unknown." if is_unknown else clipped(line["msg"]),
    }


def _pointer(location: Sequence[str | int], body: Any) -> str:
    """Return the JSON pointer of a validation error; `#query/name` for what is not in the body.

    Pydantic also puts the names of union members into `location`: steps that the body does not
    have are left out, except the last.
    """
    where, *steps = location
    if where != "body":
        return f"#{where}/" + "/".join(str(step) for step in steps)
    found: list[str] = []
    for index, step in enumerate(steps):
        inside = (isinstance(body, dict) and step in body) or (
            isinstance(body, list) and isinstance(step, int) and step < len(body)
        )
        if inside:
            body = body[step]
        if inside or index == len(steps) - 1:
            found.append(str(step).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{step}" for step in found)


def http_error(request: Request, error: HTTPException) -> Response:
    """Answer what the framework itself refuses, such as an unknown path or method."""
    phrase = HTTPStatus(error.status_code).phrase
    return problem(
        request,
        status=error.status_code,
        code=phrase.lower().replace(" ", "_").replace("-", "_"),
        title=phrase,
        detail=str(error.detail),
        headers={"Allow": _methods(request)} if error.status_code == 405 else error.headers,
    )


def _methods(request: Request) -> str:
    """Return every method that the path takes; the router would name those of one route only.

    /jobs/advice is a path of its own, although /jobs/{job} matches it.
    """
    taken: dict[str, set[str]] = {}
    for route in request.app.router.routes:
        if isinstance(route, Route) and route.path_regex.match(request.scope["path"]):
            taken.setdefault(route.path, set()).update(route.methods or ())
    methods = taken[min(taken, key=lambda path: path.count("{"))]
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def client_disconnected(request: Request, _error: ClientDisconnect) -> Response:
    """Answer a request whose client has disconnected; nobody reads this response."""
    return problem_of(request, Malformed("The connection closed before the end of the body."))


def internal_error(request: Request, _error: Exception) -> Response:
    """Answer an unexpected error: the client gets the request id, the log has the traceback."""
    # This response bypasses all middleware, which would set these headers.
    return unexpected(request, {"X-Request-Id": request_id(request), **SECURITY_HEADERS})
