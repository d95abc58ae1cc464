"""Loading of modules without garbage collection, which takes up to half of a process's start."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Collect no garbage meanwhile, and exempt all that exists at the end from collection.

    Modules stay until the process ends: looking through them again and again finds nothing.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
