"""What every operation asks of a request before its own code runs: send what I declare."""

from collections import Counter
from email.message import Message

from fastapi import Request
from fastapi.routing import APIRoute

from core.errors import FieldInvalid, FieldUnknown, UnsupportedMediaType

JSON, FORM = "application/json", "multipart/form-data"


async def require_declared(request: Request) -> None:
    """Raise FieldUnknown, FieldInvalid or UnsupportedMediaType for what the route does not declare.

    That is a query parameter that it does not know or that was sent twice, and a body that is
    to be JSON under another Content-Type.
    """
    route: APIRoute = request.scope["route"]
    if request.scope["query_string"]:
        _require_known(request, {field.alias for field in route.dependant.query_params})
    if route.body_field is not None and await request.body() and not _is_json(request):
        raise UnsupportedMediaType(f"Send the body as JSON, with Content-Type: {JSON}.")


def _require_known(request: Request, known: set[str]) -> None:
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


def _is_json(request: Request) -> bool:
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    kind = message.get_content_type()
    return kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))
