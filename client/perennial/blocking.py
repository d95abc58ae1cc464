"""Work that blocks, such as on files: done at once. The asynchronous client has its own module."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> T:
    """Return what a function returns."""
    return work()


def drawn(items: Iterable[T]) -> Iterator[T]:
    """Return an iterator over items."""
    return iter(items)


def entered(context: AbstractContextManager[T]) -> AbstractContextManager[T]:
    """Return a context."""
    return context


def content_of(file: BinaryIO) -> BinaryIO:
    """Return a file, as httpx takes it."""
    return file
