"""The root of all errors."""

import re


class PerennialError(Exception):
    """An expected failure with a stable code."""

    retryable = False

    def __init__(
        self, message: str | None = None, /, *, pointer: str | None = None, **facts: object
    ):
        self.message = message or (type(self).__doc__ or "").strip()
        self.pointer = pointer
        self.facts = facts
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The stable code of this error: its class name in snake case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
