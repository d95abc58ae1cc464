"""The last use of each key is noted, and many uses of it are one write."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from api.http.authentication import KeyUses
from core.errors import DatabaseUnavailable
from core.principal import Principal, Role
from core.values import KeyId
from tests.support.factories import NOW

ONE, OTHER = KeyId("key_1"), KeyId("key_2")


class Book:
    """Takes the place of the platform: it notes what is written, or fails."""

    def __init__(self) -> None:
        self.written: list[Mapping[KeyId, datetime]] = []
        self.fault: Exception | None = None
        self.now = NOW

    def clock(self) -> datetime:
        return self.now

    @contextmanager
    def transactions(self) -> Iterator[Any]:
        if self.fault is not None:
            raise self.fault
        note = SimpleNamespace(note_uses=self.written.append)
        yield type("Faked", (), {"__getitem__": lambda _, kind: note, "commit": lambda _: None})()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def uses(book: Book) -> Iterator[KeyUses]:
    made = KeyUses(book)  # type: ignore[arg-type]
    yield made
    made.close()


def test_many_uses_are_written_once_with_the_last_time(book: Book, uses: KeyUses) -> None:
    def authenticate(secrets: Any) -> Mapping[str, Principal]:
        holders = {"one": ONE, "other": OTHER, "token": None}
        return {
            secret: Principal(name=secret, role=Role.VIEWER, models=None, key=holders[secret])
            for secret in secrets
            if secret in holders
        }

    noting = uses.noting(authenticate)
    assert noting(["one", "wrong"]).keys() == {"one"}
    book.now += timedelta(seconds=9)
    for _ in range(100):
        noting(["one", "other", "token"])
    assert book.written == []
    uses.flush()
    uses.flush()  # nothing is new
    assert book.written == [{ONE: book.now, OTHER: book.now}]


def test_uses_wait_while_the_database_is_down_and_the_newer_ones_count(
    book: Book, uses: KeyUses
) -> None:
    book.fault = DatabaseUnavailable()
    uses.note({ONE, OTHER})
    with pytest.raises(DatabaseUnavailable):
        uses.flush()
    book.now += timedelta(seconds=9)
    uses.note({ONE})
    book.fault = None
    uses.flush()
    assert book.written == [{ONE: book.now, OTHER: NOW}]
