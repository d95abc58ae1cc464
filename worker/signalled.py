"""A flag that a signal handler may raise."""

from contextlib import suppress
from queue import Empty, SimpleQueue


class Signalled:
    """A flag that is raised once, by a signal handler or a thread, and for which a thread waits.

    A `threading.Event` has a lock. A handler that interrupts a thread while that holds it, as at
    the end of `wait`, would wait for ever in `set`. `SimpleQueue.put` may interrupt anything.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._raised: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Raise the flag; may be called at any moment."""
        self._is_set = True
        self._raised.put(None)

    def is_set(self) -> bool:
        """Return whether the flag was raised."""
        return self._is_set

    def wait(self, seconds: float) -> None:
        """Return once the flag is raised, or after so many seconds."""
        if not self._is_set:
            with suppress(Empty):
                self._raised.get(timeout=seconds)
