"""Statements that are compiled once in a process, as in one whose single engine lasts.

Each test opens engines of its own, of which each would compile every statement anew.
"""

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.util import LRUCache

CAPACITY = 2000


class _Statements(LRUCache[Any, Any]):
    """Compiled statements by what tells dialects apart, of which each engine has one."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_shared(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(_shared(key), compiled)


def _shared(key: Any) -> Any:
    dialect, *rest = key
    return (dialect.name, dialect._json_serializer, *rest)


def share_statements() -> None:
    statements = _Statements(CAPACITY)
    Engine._compiled_cache = property(  # type: ignore[assignment]
        lambda _engine: statements, lambda _engine, _own: None
    )
