"""Routes that wait for one thread a request."""

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from api.http.declared_route import DeclaredRoute

P = ParamSpec("P")
T = TypeVar("T")


class ThreadRoute(DeclaredRoute):
    """Runs a plain function on a thread, and everything around it on the event loop.

    The framework would wait for another thread to look at what the function has returned. On a
    busy machine each wait takes longer than that look.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        on_loop = endpoint if iscoroutinefunction(endpoint) else _on_a_thread(endpoint)
        super().__init__(path, on_loop, **options)


def _on_a_thread(endpoint: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    @wraps(endpoint)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return await run_in_threadpool(endpoint, *args, **kwargs)

    return run
