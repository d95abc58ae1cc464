"""Work that blocks, such as on files, in a thread beside the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import BinaryIO, TypeVar, cast

T = TypeVar("T")
CHUNK_BYTES = 64 * 1024
_END = object()


async def in_thread(work: Callable[[], T]) -> T:
    """Return what a function returns that blocks."""
    return await asyncio.to_thread(work)


async def drawn(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield items whose making blocks."""
    source = iter(items)
    while (item := await asyncio.to_thread(next, source, _END)) is not _END:
        yield cast(T, item)


@asynccontextmanager
async def entered(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter a context whose entry blocks."""
    found = await asyncio.to_thread(context.__enter__)
    try:
        yield found
    finally:
        context.__exit__(None, None, None)


async def content_of(file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield the rest of a file, as httpx takes it."""
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk
