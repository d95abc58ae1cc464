"""Uses of keys are noted at most once a minute, and none is lost while the database is down."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from api.http.authentication import key_uses
from api.http.authentication.key_uses import KeyUses
from core.domain.access.principal import Principal
from core.domain.access.roles import Role
from core.domain.values import KeyId
from core.errors import DatabaseUnavailable
from tests.support.factories import NOW
from tests.support.processes import wait_for

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
        yield SimpleNamespace(keys=note, commit=lambda: None)


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
    uses.write()
    uses.write()  # nothing is new
    assert book.written == [{ONE: book.now, OTHER: book.now}]


def test_the_thread_writes_again_and_again(
    book: Book, uses: KeyUses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_uses, "EVERY_S", 0.01)
    for count in (1, 2):
        uses.note({ONE})
        wait_for(lambda count=count: len(book.written) == count, seconds=10)


def test_uses_wait_while_the_database_is_down_and_the_newer_ones_count(
    book: Book, uses: KeyUses
) -> None:
    book.fault = DatabaseUnavailable()
    uses.note({ONE, OTHER})
    uses.write()
    book.now += timedelta(seconds=9)
    uses.note({ONE})
    book.fault = None
    uses.write()
    assert book.written == [{ONE: book.now, OTHER: NOW}]


def test_what_cannot_be_written_holds_up_nothing(book: Book, uses: KeyUses) -> None:
    book.fault = ValueError()
    uses.note({ONE})
    uses.write()
    book.fault = None
    uses.close()
    assert book.written == []
