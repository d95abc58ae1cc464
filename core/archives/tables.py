"""Untrusted tables: Parquet files, which a confined process reads row by row."""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import (
    ArchiveCorrupt,
    ArchiveTooBig,
    ArchiveUnsafe,
    PerennialError,
    TableInvalid,
    raising_storage_full,
)
from core.images.frames import LENGTH, OK, TOO_LARGE
from core.images.process import ConfinedProcess

# What the process and its parent agree on.

SCHEMA, CHOOSE, NEXT = b"s", b"c", b"n"  # tasks
ENCRYPTED, WIDE = b"E", b"W"  # outcomes
ABSENT, TOO_LONG = -1, -2  # in the place of an image's length

REPLY_BYTES = 8 * 1024 * 1024  # of rows, to which the last one is added
MOST_COLUMNS = 1_000
MOST_TEXT = 2_000  # characters of a text or a name; longer ones are cut, or refused later
MOST_TEXTS = 1_000  # of a row
JSON_BYTES = 12  # of a character, at most
MOST_METADATA_BYTES = 16 * 1024 * 1024  # of a text in a file's description of itself
MOST_GROUP_BYTES = 1024**3  # of the read columns in a row group, unpacked

_MODULE = "core.archives.table_child"  # imported there alone: it loads pyarrow
# pyarrow and numpy start threads as they are loaded, which would not be confined, unless told so.
_ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "ARROW_IO_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_SCHEMA_BYTES = 64 * 1024 * 1024  # of the description of 1,000 columns


_REFUSALS: dict[bytes, Callable[[], PerennialError]] = {
    ENCRYPTED: lambda: ArchiveUnsafe("The Parquet file is encrypted."),
    TOO_LARGE: lambda: ArchiveTooBig("Reading the Parquet file takes too much memory."),
    WIDE: lambda: TableInvalid(
        f"A Parquet file may have {MOST_COLUMNS:,} columns, and {MOST_TEXTS:,} texts in a row."
    ),
}


def _damaged() -> PerennialError:
    return ArchiveCorrupt("The Parquet file is damaged.")


class ColumnKind(StrEnum):
    """The type that a column may be read as."""

    IMAGE = "image"  # bytes, or a struct of `bytes` and maybe `path`
    TEXT = "text"
    TEXTS = "texts"  # a list
    CLASS = "class"  # numbers of classes, whose names the file has
    NUMBER = "number"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    name: str
    type: str  # as Arrow calls it
    kind: ColumnKind
    class_names: Sequence[str] = ()
    bytes: int = 0  # unpacked, as the file says
    largest: int = 0  # of that in one row group


@dataclass(frozen=True, kw_only=True)
class ChosenColumns:
    """The columns that are read: of images or, in a list of images, of the names of their files."""

    image: Column | None = None
    file: Column | None = None
    text: Column | None = None

    @property
    def bytes(self) -> int:
        """The unpacked bytes of the columns, as the file says."""
        return sum(one.bytes for one in self._all())

    @property
    def largest(self) -> int:
        """The most of these bytes that may be in one row group."""
        return sum(one.largest for one in self._all())

    def to_json(self) -> dict[str, Any]:
        """Return the names of the columns, "" for none."""
        named = {"image": self.image, "file": self.file, "text": self.text}
        return {role: one.name if one else "" for role, one in named.items()}

    def _all(self) -> Iterator[Column]:
        return (one for one in (self.image, self.file, self.text) if one is not None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table: an image's bytes, the error that it has in their place, and its texts."""

    name: str  # of the image's file, or ""
    image: bytes | None
    is_too_large: bool
    texts: Sequence[str]  # without those that are missing


@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads tables within limits: of a request's time, and of bytes."""

    folder: Path  # in which files lie that are being read
    seconds: float
    memory_bytes: int
    file_bytes: int  # of an image

    @contextmanager
    def opened(self, pieces: Iterator[bytes]) -> Iterator["Table"]:
        """Yield a table that comes in pieces, all of which are read first, onto the disk.

        Raises ArchiveCorrupt, ArchiveUnsafe, ArchiveTooBig, TableInvalid, StorageFull, and what
        `pieces` raises.
        """
        with self._spooled(pieces) as file:
            process = ConfinedProcess(
                _MODULE,
                (self.memory_bytes, math.ceil(self.seconds) + 1, self.file_bytes, file.fileno()),
                seconds=self.seconds,
                reply_bytes=_SCHEMA_BYTES,
                environment=_ENVIRONMENT,
                file=file.fileno(),
            )
            try:
                yield Table(process, file.tell(), self.file_bytes)
            finally:
                process.stop()

    @contextmanager
    def _spooled(self, pieces: Iterator[bytes]) -> Iterator[BinaryIO]:
        with self._temporary() as file:
            for piece in pieces:
                with raising_storage_full():
                    file.write(piece)
            yield file

    def _temporary(self) -> AbstractContextManager[BinaryIO]:
        with raising_storage_full():
            return tempfile.TemporaryFile(dir=self.folder, buffering=0)


class Table:
    """A table whose rows can be read once."""

    def __init__(self, process: ConfinedProcess, size: int, file_bytes: int) -> None:
        """Ask the process for the columns of its file, which has `size` bytes."""
        self._process = process
        self._file_bytes = file_bytes
        self.size = size
        told = json.loads(self._ask(SCHEMA))
        self.rows = max(0, int(told["rows"]))
        self.columns = [
            Column(**one | {"kind": ColumnKind(one["kind"])}) for one in told["columns"]
        ]

    def read(self, chosen: ChosenColumns) -> Iterator[Row]:
        """Yield the rows. Raises ArchiveCorrupt, ArchiveUnsafe, ArchiveTooBig or TableInvalid."""
        if chosen.largest > MOST_GROUP_BYTES:
            raise ArchiveTooBig(
                f"A row group of the Parquet file unpacks to more than {MOST_GROUP_BYTES:,} bytes: "
                "write it again with fewer rows in each.",
                cap=MOST_GROUP_BYTES,
            )
        each = max(1, chosen.bytes // max(1, self.rows))
        batch = min(MOST_TEXTS, max(1, REPLY_BYTES // each))
        self._ask(CHOOSE, chosen.to_json() | {"batch": batch})
        left = self.rows
        while rows := self._next():
            left -= len(rows)
            for told, image in rows:
                yield _row(told, image, chosen.text)
        if left:
            raise ArchiveCorrupt("The Parquet file has other rows than it says.")

    def _next(self) -> list[tuple[list[Any], bytes]]:
        """Return the next rows as they are told, each with its image."""
        body = self._ask(NEXT)
        start = LENGTH.size + LENGTH.unpack_from(body)[0]
        found = []
        for told in json.loads(body[LENGTH.size : start]):
            end = start + max(0, told[0])
            found.append((told, body[start:end]))
            start = end
        return found

    def _ask(self, task: bytes, data: Any = None) -> bytes:
        sent = b"" if data is None else json.dumps(data).encode()
        last = self._file_bytes + JSON_BYTES * MOST_TEXT * MOST_TEXTS  # of its rows
        most = 2 * REPLY_BYTES + last
        try:
            outcome, body = self._process.ask_once(task + LENGTH.pack(len(sent)) + sent, most)
        except (OSError, EOFError) as error:  # a TimeoutError is an OSError
            raise ArchiveCorrupt(
                "The Parquet file is damaged, or takes too long to read."
            ) from error
        if outcome != OK:
            raise _REFUSALS.get(outcome, _damaged)()
        return body


def _row(told: list[Any], image: bytes, text: Column | None) -> Row:
    length, name, texts = told
    if text is not None and text.kind is ColumnKind.CLASS:
        names = text.class_names
        texts = [names[one] if 0 <= one < len(names) else None for one in texts if one is not None]
    return Row(
        name=name,
        image=image if length >= 0 else None,
        is_too_large=length == TOO_LONG,
        texts=[one for one in texts if one is not None],
    )
