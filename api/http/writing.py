"""Write answers where nobody waits for it: small ones on the event loop, large ones in a thread."""

from collections.abc import Callable
from typing import ParamSpec

from fastapi import Response
from starlette.concurrency import run_in_threadpool

P = ParamSpec("P")

VALUES_AT_ONCE = 5000  # numbers, which take a millisecond


async def written(
    values: int, write: Callable[P, Response], *args: P.args, **kwargs: P.kwargs
) -> Response:
    """Return what `write` returns; `values` is the size of the answer, in numbers.

    For a small answer, handing it to a thread would take longer than writing it.
    """
    if values <= VALUES_AT_ONCE:
        return write(*args, **kwargs)
    return await run_in_threadpool(write, *args, **kwargs)
