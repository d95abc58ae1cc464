"""Requests of commands to a running service."""

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any

import httpx

from core.errors import FieldInvalid, PerennialError, Unavailable
from core.settings import Settings

PROBLEM = "application/problem+json"


@contextmanager
def service(url: str | None, *, timeout_s: float) -> Iterator[httpx.Client]:
    """Yield a client with the key in PERENNIAL_ADMIN_KEY; by default of the settings' address.

    Raises FieldInvalid without a key, and Unavailable when no service answers.
    """
    settings = Settings()
    key = settings.admin_key.get_secret_value()
    if not key:
        raise FieldInvalid("Set PERENNIAL_ADMIN_KEY to a key of the service.")
    url = url or f"http://{settings.host}:{settings.port}"
    headers = {"Authorization": f"Bearer {key}"}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=timeout_s) as client:
            yield client
    except (httpx.HTTPError, httpx.InvalidURL, JSONDecodeError) as error:
        raise Unavailable(f"No service answers at {url}: {error}") from error


def reply(client: httpx.Client, method: str, path: str, **sent: Any) -> httpx.Response:
    """Return a successful reply. Raises httpx.HTTPError, and the service's refusal as an error."""
    response = client.request(method, path, **sent)
    if response.headers.get("Content-Type") == PROBLEM:
        raise PerennialError(response.json()["detail"])
    return response.raise_for_status()
