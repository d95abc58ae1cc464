"""The parts of requests, and whether and when one is sent again."""

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from perennial.replies import error_of

RETRIES = 2
RETRIED = {429, 503}
PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
KEY = "Idempotency-Key"


def path_of(*segments: str | int) -> str:
    """Return a path below `/v1` with its segments escaped."""
    return "/v1/" + "/".join(quote(str(segment), safe="@:") for segment in segments)


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None: the service has defaults for the others."""
    return {name: value for name, value in fields.items() if value is not None}


def idempotency(key: str | None) -> dict[str, str]:
    """Return the headers of an order that is placed once, however often it is sent.

    Without a key, it gets a random one.
    """
    return {KEY: secrets.token_urlsafe(16) if key is None else key}


def may_be_repeated(method: str, sent: Mapping[str, Any]) -> bool:
    """Return whether a request may be sent again; a file that was read while sent may not."""
    whole = isinstance(sent.get("content", b""), bytes)
    return method.upper() == "GET" or (whole and KEY in (sent.get("headers") or {}))


def pause_before_repeating(response: httpx.Response) -> float | None:
    """Return how long to wait before a request is sent again, or None if it is not."""
    if response.status_code == httpx.codes.CONFLICT and error_of(response).code == "in_progress":
        return PAUSE_S  # the service still answers the request whose connection broke
    if response.status_code not in RETRIED:
        return None
    asked = response.headers.get("Retry-After", "1")
    return float(asked) if asked.isdecimal() and float(asked) <= LONGEST_PAUSE_S else None
