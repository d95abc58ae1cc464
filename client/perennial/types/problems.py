"""Problem documents: the errors of a request."""

from typing import NotRequired, TypedDict


class ProblemLine(TypedDict):
    """One thing that is wrong and, as a JSON pointer, where."""

    code: str
    detail: str
    pointer: NotRequired[str | None]
