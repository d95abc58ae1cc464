"""Answers to everything that a route may raise."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from api.http.middleware import SECURITY_HEADERS
from api.http.problems import problem, problem_of, request_id
from api.observability.telemetry import METHODS
from core.errors import FieldInvalid, FieldUnknown, Malformed, PerennialError


def register(app: FastAPI) -> None:
    """Let every error of the app be answered with a problem document."""
    app.exception_handler(PerennialError)(named_fact)
    app.exception_handler(RequestValidationError)(invalid_request)
    app.exception_handler(HTTPException)(http_error)
    app.exception_handler(ClientDisconnect)(gone_client)
    app.exception_handler(Exception)(unforeseen)


def named_fact(request: Request, error: PerennialError) -> Response:
    """A fact that the rules have a name for."""
    return problem_of(request, error)


def invalid_request(request: Request, error: RequestValidationError) -> Response:
    """The framework's validation errors, in our shape."""
    found = error.errors()
    if any(line["type"] == "json_invalid" for line in found):
        return problem_of(request, Malformed("The body is not JSON."))
    lines = [_line(line, error.body) for line in found]
    unknown = any(line["code"] == "field_unknown" for line in lines)
    fact = FieldUnknown() if unknown else FieldInvalid()
    return problem(
        request,
        status=422,
        code=fact.code,
        title=fact.message,
        detail="; ".join(f"{line['pointer']}: {line['detail']}" for line in lines),
        errors=lines,
    )


def _line(line: Any, body: Any) -> dict[str, str]:
    extra = line["type"] == "extra_forbidden"
    return {
        "code": "field_unknown" if extra else "field_invalid",
        "pointer": _pointer(line["loc"], body),
        "detail": "This field is not known." if extra else line["msg"],
    }


def _pointer(place: Sequence[str | int], body: Any) -> str:
    """The JSON pointer of a validation error; `#query/name` for what is not in the body.

    Steps that the body does not have are the names of union members, not fields.
    """
    where, *steps = place
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
    """What the framework itself refuses: no such path, no such method."""
    cause = error.__cause__  # something that the framework met while it read the body
    if isinstance(cause, PerennialError):
        return problem_of(request, cause)
    if isinstance(cause, RecursionError | ValueError):
        return problem_of(request, Malformed("The body is not JSON that can be read."))
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
    """Return every method that a path takes; the router itself names those of one route."""
    routes = request.app.router.routes
    scopes = ({**request.scope, "method": method} for method in sorted(METHODS))
    return ", ".join(
        scope["method"]
        for scope in scopes
        if any(route.matches(scope)[0] is Match.FULL for route in routes)
    )


def gone_client(request: Request, _error: ClientDisconnect) -> Response:
    """The client hung up in mid-request; nobody reads this answer."""
    return problem_of(request, Malformed("The connection closed before the body ended."))


def unforeseen(request: Request, _error: Exception) -> Response:
    """A fault of ours: the log has the trace, the client gets the request's id."""
    return problem(
        request,
        status=500,
        code="internal",
        title="Something went wrong in the service.",
        detail="The request failed for a reason the service did not foresee; its log has more.",
        retryable=True,
        # This answer is sent outside of all middleware.
        headers={"X-Request-Id": request_id(request), **SECURITY_HEADERS},
    )
