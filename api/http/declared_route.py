"""Refuse requests by the role, the query parameters and the type of body that a route declares."""

from collections import Counter
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from api.http.required_role import require_role
from api.http.strict_json import parse
from core.errors import FieldInvalid, FieldUnknown, UnsupportedMediaType

JSON, FORM = "application/json", "multipart/form-data"


class DeclaredRoute(APIRoute):
    """Route that refuses a role that is too low and, if it takes JSON, a body of another type.

    It refuses both before it reads the body. A route is whole as its module is imported, so that
    each application takes it as it is: `FastAPI.include_router` would build it a second time,
    with all its dependencies and schemas, for each application.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["dependencies"] = [Depends(require_declared), *(options.get("dependencies") or ())]
        super().__init__(
            path, endpoint, **(options | {"generate_unique_id_function": operation_id})
        )

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handle = super().get_route_handler()
        takes_json = self.body_field is not None

        async def handle_declared(request: Request) -> Response:
            require_role(request, self)
            if not takes_json:
                return await handle(request)
            if _has_body(request) and not _is_json(request):
                raise UnsupportedMediaType(f"Send the body as JSON, with Content-Type: {JSON}.")
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_declared


def operation_id(route: APIRoute) -> str:
    """Return the operation id of a route: its function's name."""
    return route.name


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Return the value of the body, parsed by `api.http.strict_json`."""
        return parse(await self.body())


async def require_declared(request: Request) -> None:
    """Check the query parameters of a request against its route.

    Raises FieldUnknown for one that the route does not declare, FieldInvalid for one sent twice.
    """
    route: APIRoute = request.scope["route"]
    known = {field.alias for field in route.dependant.query_params}
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        pointer = f"#query/{name[:100]}"
        if name not in known:
            words = ", ".join(sorted(known)) or "none"
            raise FieldUnknown(
                f"This path has no query parameter {name[:100]!r}; it has: {words}.",
                pointer=pointer,
            )
        if count > 1:
            raise FieldInvalid(f"{name!r} was sent {count} times: send it once.", pointer=pointer)


def _has_body(request: Request) -> bool:
    length = request.headers.get("content-length", "0")
    return "transfer-encoding" in request.headers or length != "0"


def _is_json(request: Request) -> bool:
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    kind = message.get_content_type()
    return kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))
