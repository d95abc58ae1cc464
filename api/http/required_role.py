"""The role that an operation takes: declared by its route, checked here and documented."""

from typing import Any

from fastapi.routing import APIRoute

from api.http.paths import is_open
from core.domain.access.roles import Role

ROLE = "x-required-role"


def needs(role: Role) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that takes this role or a higher one."""
    return {ROLE: role.value}


def role_of(route: APIRoute) -> Role | None:
    """Return the role that a route takes, None if anyone may ask for its path."""
    return None if is_open(route.path) else Role((route.openapi_extra or {})[ROLE])
