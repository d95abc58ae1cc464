"""Entries are written in batches a little later, and none is lost while the database is down."""

from collections.abc import Iterator

import pytest

from api.background_writer import BackgroundWriter
from core.errors import DatabaseUnavailable
from tests.support.processes import wait_for

Counts = dict[str, int]


class Book:
    """Takes the place of the database: it keeps what is written, or fails."""

    def __init__(self) -> None:
        self.written: list[Counts] = []
        self.fault: Exception | None = None

    def write(self, counts: Counts) -> None:
        if self.fault is not None:
            raise self.fault
        self.written.append(counts)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def writer(book: Book) -> Iterator[BackgroundWriter[Counts]]:
    made = BackgroundWriter("counts", book.write, every_s=60.0, most=3)
    yield made
    made.close()


def test_entries_are_written_together_and_once(
    book: Book, writer: BackgroundWriter[Counts]
) -> None:
    writer.add({"a": 1, "b": 1})
    writer.add({"a": 2})
    assert book.written == []
    writer.flush()
    writer.flush()  # nothing is new
    assert book.written == [{"a": 2, "b": 1}]


def test_the_thread_writes_again_and_again(book: Book) -> None:
    writer = BackgroundWriter("counts", book.write, every_s=0.01, most=3)
    for count in (1, 2):
        writer.add({"a": count})
        wait_for(lambda count=count: len(book.written) == count, seconds=10)
    writer.close()


def test_entries_wait_in_their_order_while_the_database_is_down_and_the_newest_are_lost_beyond_most(
    book: Book, writer: BackgroundWriter[Counts]
) -> None:
    book.fault = DatabaseUnavailable()
    for entries in ({"a": 1}, {"b": 1}):
        writer.add(entries)
        with pytest.raises(DatabaseUnavailable):
            writer.flush()
    writer.add({"c": 1, "d": 1})  # four are more than may wait
    writer.add({"a": 2, "c": 2})
    book.fault = None
    writer.close()
    assert book.written == [{"a": 2, "b": 1, "c": 2}]


def test_an_unexpected_error_loses_its_batch_and_holds_up_nothing(
    book: Book, writer: BackgroundWriter[Counts]
) -> None:
    book.fault = ValueError()
    writer.add({"a": 1})
    writer.flush()
    book.fault = None
    writer.add({"b": 1})
    writer.close()
    assert book.written == [{"b": 1}]


def test_a_failed_write_that_meets_newer_entries_keeps_its_own_first(
    book: Book, writer: BackgroundWriter[Counts]
) -> None:
    def write(counts: Counts) -> None:
        writer.add({"a": 2, "b": 2})  # while the write is under way
        raise DatabaseUnavailable

    writer._write = write
    writer.add({"a": 1})
    with pytest.raises(DatabaseUnavailable):
        writer.flush()
    writer._write = book.write
    writer.close()
    assert book.written == [{"a": 2, "b": 2}]
