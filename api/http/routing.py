"""Paths, the role that each operation takes, and routes that check what they declare."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from email.message import Message
from functools import wraps
from inspect import Parameter, isclass, iscoroutinefunction, signature
from operator import attrgetter
from typing import Any, ParamSpec, Protocol, TypeVar, get_args

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.types import DecoratedCallable
from pydantic import BaseModel
from starlette._utils import get_route_path
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from api.dependencies import OfRequest
from api.http.json_bodies import AT_ONCE, parse_body
from api.http.problems import MEDIA_TYPE, status_of
from core.errors import FieldInvalid, FieldUnknown, PerennialError, UnsupportedMediaType
from core.principal import Role

PAGES = "/ui"
SIGN_IN = f"{PAGES}/sign-in"
STATIC = f"{PAGES}/static/"
GUIDE = "/guide"
LLMS = "/llms.txt"
FIRST_STEPS = f"{PAGES}/first-steps"
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json", SIGN_IN})
ROLE = "x-required-role"
EXAMPLES = "#/components/examples/"
JSON, FORM = "application/json", "multipart/form-data"
VALUES_AT_ONCE = 5000  # numbers, which take a millisecond

P = ParamSpec("P")
T = TypeVar("T")

_Validate = Callable[..., tuple[Any, Sequence[Any]]]  # returns a value, and what is wrong with it


def is_open(path: str) -> bool:
    """Return whether a path needs neither a key nor a session."""
    return path in OPEN_PATHS or path.startswith(STATIC) or is_guide(path)


def is_guide(path: str) -> bool:
    """Return whether a path is that of a page or the list of the guide, which anyone may read."""
    return path in {GUIDE, LLMS} or path.startswith(f"{GUIDE}/")


def is_page(path: str) -> bool:
    """Return whether a path is that of a page, or of something on a page."""
    return path == PAGES or path.startswith(f"{PAGES}/")


def page_path(path: str) -> str:
    """Return a path if it is that of a page of this service, else that of the first page."""
    inside = path == PAGES or path.startswith((f"{PAGES}/", f"{PAGES}?"))
    return path if inside and path.isprintable() and not path.startswith(SIGN_IN) else PAGES


def needs(role: Role) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that takes this role or a higher one."""
    return {ROLE: role.value}


def role_of(route: APIRoute) -> Role | None:
    """Return the role that a route takes, None if anyone may ask for its path."""
    return None if is_open(route.path) else Role((route.openapi_extra or {})[ROLE])


def raises(*error_types: type[PerennialError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may raise these errors, with an example of each."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for error_type in error_types:
        status = status_of(error_type)
        response = by_status.setdefault(status, {"content": {MEDIA_TYPE: {"examples": {}}}})
        response["content"][MEDIA_TYPE]["schema"] = {"$ref": "#/components/schemas/Problem"}
        code = error_type().code
        response["content"][MEDIA_TYPE]["examples"][code] = {"$ref": f"{EXAMPLES}{code}"}
    for response in by_status.values():
        response["description"] = ", ".join(response["content"][MEDIA_TYPE]["examples"])
    return by_status


class _Declare(Protocol):
    def __call__(
        self, path: str, role: Role | None = None, *raised: type[PerennialError], **options: Any
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Return the decorator of a route."""


class Routes:
    """Routes, each with its path, the role that it takes, and the errors that it may answer with.

    The role is None where anyone may ask. Errors that any operation may raise are left out.
    """

    def __init__(self, **options: Any) -> None:
        self._router = APIRouter(**options)
        self.get = self._declaring("GET")
        self.post = self._declaring("POST")
        self.put = self._declaring("PUT")
        self.patch = self._declaring("PATCH")
        self.delete = self._declaring("DELETE")
        self.options = self._declaring("OPTIONS")

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes, in the order in which they are matched."""
        return self._router.routes

    def _declaring(self, method: str) -> "_Declare":
        def declare(
            path: str, role: Role | None = None, *raised: type[PerennialError], **options: Any
        ) -> Callable[[DecoratedCallable], DecoratedCallable]:
            extra = {} if role is None else needs(role)
            options["responses"] = {**options.get("responses", {}), **raises(*raised)}
            options["openapi_extra"] = {**options.get("openapi_extra", {}), **extra}
            return self._router.api_route(path, methods=[method], **options)

        return declare


class DeclaredRoute(APIRoute):
    """Route that refuses a role that is too low, and parameters and a body that it does not take.

    It refuses all three before it reads the body, which must be JSON if it takes any. A route is
    whole as its module is imported, so that each application takes it as it is:
    `FastAPI.include_router` would build it a second time, with all its dependencies and schemas,
    for each application.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["generate_unique_id_function"] = attrgetter("name")
        super().__init__(path, endpoint, **options)
        self._beginning = self.path.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request: most routes are told by how their paths begin, without a pattern."""
        if not get_route_path(scope).startswith(self._beginning):
            return Match.NONE, {}
        return super().matches(scope)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handle = super().get_route_handler()
        validate = None if self.body_field is None else self.body_field.validate
        role = role_of(self)
        parameters = frozenset(_query_parameters(self.dependant))

        async def handle_declared(request: Request) -> Response:
            if role is not None:
                request.scope["state"]["principal"].require(role)
            if request.scope["query_string"]:
                _require_declared(request.query_params, parameters)
            if validate is None:
                return await handle(request)
            if _has_body(request) and not _is_json(request):
                raise UnsupportedMediaType(f"Send the body as JSON, with Content-Type: {JSON}.")
            sent = _JsonRequest(request.scope, request.receive)
            await sent.read(validate)
            return await handle(sent)

        return handle_declared


class _JsonRequest(Request):
    """Request whose body was parsed by `api.http.json_bodies`."""

    _value: Any = None

    async def read(self, validate: _Validate) -> None:
        """Read and parse the body; validate a large one as well, so that no other request waits.

        The framework takes what is valid already as it is. Raises Malformed, FieldInvalid, and for
        a large body RequestValidationError.
        """
        body = await self.body()
        if len(body) > AT_ONCE:
            self._value = await run_in_threadpool(_validated, body, validate)
        elif body:
            self._value = parse_body(body)

    async def json(self) -> Any:
        """Return the value of the body."""
        return self._value


def _validated(body: bytes, validate: _Validate) -> Any:
    value = parse_body(body)
    found, flaws = validate(value, loc=("body",))
    if flaws:
        raise RequestValidationError(flaws, body=value)
    return found


def _query_parameters(dependant: Dependant) -> Iterator[str]:
    """Yield the names of the query parameters of a route: its own, or the fields of its model.

    Those of the parameters that depend on the request are among them.
    """
    for dependency in dependant.dependencies:
        yield from _query_parameters(dependency)
    for parameter in dependant.query_params:
        kind = parameter.field_info.annotation
        if isclass(kind) and issubclass(kind, BaseModel):
            yield from (field.alias or name for name, field in kind.model_fields.items())
        else:
            yield parameter.alias


def _require_declared(sent: QueryParams, declared: Collection[str]) -> None:
    """Check the query parameters of a request against those that its route declares.

    Raises FieldUnknown for one that is not declared, FieldInvalid for one sent twice.
    """
    for name, count in Counter(name for name, _ in sent.multi_items()).items():
        pointer = f"#query/{name[:100]}"
        if name not in declared:
            words = ", ".join(sorted(declared)) or "none"
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


class ThreadRoute(DeclaredRoute):
    """Route that runs a plain function in a thread and everything else on the event loop.

    The framework would use a second thread to validate what the function returned. On a busy
    machine, waiting for that thread takes longer than the validation.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        on_loop = endpoint if iscoroutinefunction(endpoint) else _run_in_thread(endpoint)
        super().__init__(path, _given_own(on_loop), **options)


def _given_own(endpoint: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Return an endpoint of which the framework need not find what is `OfRequest`."""
    declared = signature(endpoint, eval_str=True)
    found = {
        name: mark.dependency
        for name, parameter in declared.parameters.items()
        for mark in get_args(parameter.annotation)[1:]
        if isinstance(mark, OfRequest) and mark.dependency is not None
    }
    others = [one for name, one in declared.parameters.items() if name not in found]
    names = [one.name for one in others if one.annotation is Request]
    request = names[0] if names else "request_of_it"
    if not names:
        others.append(Parameter(request, Parameter.KEYWORD_ONLY, annotation=Request))

    @wraps(endpoint)
    async def given(**values: Any) -> T:
        sent = values[request] if names else values.pop(request)
        for name, find in found.items():
            values[name] = await find(sent)
        return await endpoint(**values)

    given.__signature__ = declared.replace(parameters=others)  # type: ignore[attr-defined]
    return given if found else endpoint


def _run_in_thread(endpoint: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    @wraps(endpoint)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return await run_in_threadpool(endpoint, *args, **kwargs)

    return run


async def written(
    values: int, write: Callable[P, Response], *args: P.args, **kwargs: P.kwargs
) -> Response:
    """Return what `write` returns; `values` is the size of the answer, in numbers.

    For a small answer, handing it to a thread would take longer than writing it.
    """
    if values <= VALUES_AT_ONCE:
        return write(*args, **kwargs)
    return await run_in_threadpool(write, *args, **kwargs)
