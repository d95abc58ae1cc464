"""Waiting longer each time."""


class BackOff:
    """Waits that double from `first_s` up to `longest_s`, and start anew once all is well."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._wait_s = first_s

    def next(self) -> float:
        """How many seconds to wait this time."""
        wait_s = self._wait_s
        self._wait_s = min(2 * wait_s, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """All is well: the next wait is the first one again."""
        self._wait_s = self._first_s
