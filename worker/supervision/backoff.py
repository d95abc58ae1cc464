"""Exponential back-off."""


class BackOff:
    """Waits that double from `first_s` up to `longest_s`, until `reset`."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._wait_s = first_s

    def next(self) -> float:
        """Return how many seconds to wait this time."""
        wait_s = self._wait_s
        self._wait_s = min(2 * wait_s, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """Make the next wait the first one again."""
        self._wait_s = self._first_s
