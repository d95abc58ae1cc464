"""Problem documents (RFC 9457), the body of every error response."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

from api.observability import ERROR_CODE
from core import errors

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
WAIT = "retry_after_s"  # the fact of an error that knows how long to wait
MOST_ERRORS = 20  # of one request that are listed; the others are counted
OMITTED = "errors_omitted"  # the fact that counts them
PATH = "/v1/embeddings"  # the operation in the shape of OpenAI's API
LONGEST = 1000  # characters of a text that may quote what was sent

# The most specific class decides.
STATUS: Mapping[type[errors.PerennialError], int] = {
    errors.Malformed: 400,
    errors.Unauthorised: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.NotAcceptable: 406,
    errors.RequestTimeout: 408,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.Unsupported: 415,
    errors.RangeNotSatisfiable: 416,
    errors.Invalid: 422,
    errors.PreconditionRequired: 428,
    errors.TooManyRequests: 429,
    errors.ChecksumMismatch: 460,  # as tus has it
    errors.Unavailable: 503,
    errors.StorageFull: 507,
}


def status_of(error_type: type[errors.PerennialError]) -> int:
    """Return the HTTP status of an error; 500 for those that no client can cause."""
    return next((STATUS[step] for step in error_type.__mro__ if step in STATUS), 500)


def type_of(code: str) -> str:
    """Return the stable `type` of a problem."""
    return f"urn:perennial:problem:{code}"


def title_of(error_type: type[BaseException]) -> str:
    """Return the title of an error: the first line of its docstring."""
    return (error_type.__doc__ or "").strip().splitlines()[0]


def clipped(text: str) -> str:
    """Return a text of at most LONGEST characters: all of it, or its beginning."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def problem(
    connection: HTTPConnection,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[Mapping[str, Any]] = (),
    retryable: bool = False,
    facts: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a response with a problem document."""
    note_code(connection, code)
    body: dict[str, Any] = {
        "type": type_of(code),
        "code": code,
        "title": title,
        "status": status,
        "detail": detail,
        "errors": list(errors),
        "request_id": request_id(connection),
        "retryable": retryable,
    }
    if facts:
        body["facts"] = facts
    if connection.scope.get("path") == PATH:  # none before there is a request
        # OpenAI's clients show `error.message` and nothing else of a body.
        pointer = errors[0].get("pointer") if errors else None
        body["error"] = {
            "message": detail,
            "type": "perennial_error",
            "param": pointer,
            "code": code,
        }
    return Response(
        json.dumps(body, default=str),
        status,
        headers=_headers(status, headers),
        media_type=MEDIA_TYPE,
    )


def problem_of(connection: HTTPConnection, error: errors.PerennialError) -> Response:
    """Return a response with the problem document of an error."""
    detail, pointer = clipped(error.message), clipped(error.pointer or "")
    return problem(
        connection,
        status=status_of(type(error)),
        code=error.code,
        title=title_of(type(error)),
        detail=detail,
        errors=[{"code": error.code, "detail": detail, "pointer": pointer}] if pointer else (),
        retryable=error.retryable,
        facts={
            name: clipped(fact) if isinstance(fact, str) else fact
            for name, fact in error.facts.items()
        },
        headers={"Retry-After": str(wait)} if (wait := error.facts.get(WAIT)) else None,
    )


def unexpected(connection: HTTPConnection, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response to an error that nobody expected, which the log describes."""
    return problem(
        connection,
        status=500,
        code="internal",
        title="An unexpected error occurred.",
        detail="The service's log has the details under this request id.",
        retryable=True,
        headers=headers,
    )


def note_code(connection: HTTPConnection, code: str) -> None:
    """Note the code of the error that answers a request, for its line in the log."""
    connection.scope.setdefault("state", {})[ERROR_CODE] = code


def request_id(connection: HTTPConnection) -> str:
    """Return the id that the middleware gave this request, "" if it has none yet."""
    return str(connection.scope.get("state", {}).get("request_id", ""))


def _headers(status: int, headers: Mapping[str, str] | None) -> dict[str, str]:
    found = dict(headers or {})
    if status in {429, 503, 507}:
        found.setdefault("Retry-After", str(RETRY_AFTER_S))
    if status == 408:  # the rest of the request was not read
        found["Connection"] = "close"
    if status == 401:
        found["WWW-Authenticate"] = "Bearer"
    return found
