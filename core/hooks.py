"""Points at which rooms above take part in what a room below does, in the same transaction."""

from collections.abc import Callable
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class HookNotFilled(RuntimeError):
    """A hook is called before `core.bootstrap`, which fills all of them, is loaded."""


class Hook(Generic[P, R]):
    """Functions that take part, in the order in which `core.bootstrap` names them.

    A room that offers a hook does not import those that take part. A hook that nobody has filled
    raises: a process that forgot to load them would otherwise leave their part out in silence.
    """

    every: ClassVar[list["Hook[Any, Any]"]] = []

    def __init__(self, name: str) -> None:
        self.name = name
        self.every.append(self)
        self._parts: tuple[Callable[P, R], ...] = ()

    def fill(self, *parts: Callable[P, R]) -> None:
        """Name all functions that take part."""
        self._parts = parts

    @property
    def filled(self) -> bool:
        """Return whether any function takes part."""
        return bool(self._parts)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """Call each function; return what each returns. Raises HookNotFilled."""
        if not self._parts:
            raise HookNotFilled(f"Nothing takes part in {self.name!r}: load core.bootstrap first.")
        return [part(*args, **kwargs) for part in self._parts]
