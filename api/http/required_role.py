"""The role that an operation takes: declared by its route, checked here and documented."""

from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from api.http.paths import is_open
from core.domain.access.roles import Role

ROLE = "x-required-role"


def needs(role: Role) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that takes this role or a higher one."""
    return {ROLE: role.value}


def require_role(request: Request, route: APIRoute) -> None:
    """Raise Forbidden unless the caller's role includes that of the route."""
    if not is_open(route.path):
        request.scope["state"]["principal"].require(Role((route.openapi_extra or {})[ROLE]))
