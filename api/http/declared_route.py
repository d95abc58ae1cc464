"""What every operation asks of a request before its own code runs: send what I declare."""

from collections import Counter
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.http.json_text import parse
from core.errors import FieldInvalid, FieldUnknown, UnsupportedMediaType

JSON, FORM = "application/json", "multipart/form-data"


class DeclaredRoute(APIRoute):
    """Refuses a body that is not declared as JSON before it comes, where one is to be JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()
        if self.body_field is None:
            return answer

        async def answer_json(request: Request) -> Response:
            if _has_body(request) and not _is_json(request):
                raise UnsupportedMediaType(f"Send the body as JSON, with Content-Type: {JSON}.")
            return await answer(_JsonRequest(request.scope, request.receive))

        return answer_json


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Return the body's value, read once."""
        return parse(await self.body())


async def require_declared(request: Request) -> None:
    """Raise FieldUnknown or FieldInvalid for a query parameter that the route does not declare.

    FieldInvalid is for one that was sent twice.
    """
    route: APIRoute = request.scope["route"]
    known = {field.alias for field in route.dependant.query_params}
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        pointer = f"#query/{name[:100]}"
        if name not in known:
            words = ", ".join(sorted(known)) or "none"
            raise FieldUnknown(
                f"{name[:100]!r} is not a query parameter of this path; it has: {words}.",
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
