"""Reading replies: their JSON, or the error that they report."""

from http import HTTPStatus
from typing import Any

import httpx

from perennial.errors import ServiceError

_SHOWN = 200  # characters of a reply that is not the service's own
# By RFC 9110; Python has these names since 3.13, and others before.
_CODES = {
    413: "content_too_large",
    414: "uri_too_long",
    416: "range_not_satisfiable",
    422: "unprocessable_content",
}


def json_of(response: httpx.Response) -> Any:
    """Return the JSON of a successful reply. Raises ServiceError if it is something else."""
    try:
        return response.json()
    except ValueError as error:
        raise ServiceError(response.status_code, "reply_not_json", _described(response)) from error


def error_of(response: httpx.Response) -> ServiceError:
    """Return the error that an unsuccessful reply reports."""
    if problem := _problem(response):
        return ServiceError(
            response.status_code,
            problem["code"],
            problem.get("detail", ""),
            facts=problem.get("facts"),
            errors=problem.get("errors", ()),
            request_id=problem.get("request_id", ""),
            retryable=problem.get("retryable", False),
        )
    return ServiceError(response.status_code, _code(response.status_code), _described(response))


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    """Return the problem document (RFC 9457) that a reply holds, if it is one of the service's."""
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) and isinstance(body.get("code"), str) else None


def _code(status: int) -> str:
    if status in _CODES:
        return _CODES[status]
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        return "unknown_status"
    return phrase.lower().replace(" ", "_").replace("-", "_")


def _described(response: httpx.Response) -> str:
    if response.has_redirect_location:
        place = response.headers["Location"]
        return f"The reply redirects to {place}; redirects are not followed."
    kind = response.headers.get("Content-Type", "no content type")
    text = " ".join(response.text[:_SHOWN].split())
    return f"The reply to {response.request.url} is not from the service ({kind}): {text}"
