"""Routes that use one thread per request."""

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from api.http.declared_route import DeclaredRoute

P = ParamSpec("P")
T = TypeVar("T")


class ThreadRoute(DeclaredRoute):
    """Route that runs a plain function in a thread and everything else on the event loop.

    The framework would use a second thread to validate what the function returned. On a busy
    machine, waiting for that thread takes longer than the validation.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        on_loop = endpoint if iscoroutinefunction(endpoint) else _run_in_thread(endpoint)
        super().__init__(path, on_loop, **options)


def _run_in_thread(endpoint: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    @wraps(endpoint)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return await run_in_threadpool(endpoint, *args, **kwargs)

    return run
