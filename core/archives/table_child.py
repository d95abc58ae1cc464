"""The program of the process that reads untrusted Parquet files, one of them.

It is confined and exchanges `core.images.frames`. The file is open before it confines itself, so
that it can open no other one. `SCHEMA` asks for the columns and `CHOOSE` names those that are read;
each `NEXT` returns some rows, none at the end.
"""

import io
import json
import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.archives.tables import (
    ABSENT,
    CHOOSE,
    ENCRYPTED,
    JSON_BYTES,
    MOST_COLUMNS,
    MOST_METADATA_BYTES,
    MOST_TEXT,
    MOST_TEXTS,
    NEXT,
    REPLY_BYTES,
    SCHEMA,
    TOO_LONG,
    WIDE,
    ColumnKind,
)
from core.images.confinement import confine, keep_freed_memory
from core.images.frames import CORRUPT, LENGTH, OK, READY, Reply, frame, serve

_PAGE = os.sysconf("SC_PAGE_SIZE")
_END = struct.Struct("<I4s")  # of a file: bytes of its description, and its kind
_SIGNATURE = 28  # bytes behind a description that can be read though columns are encrypted
_AHEAD = 1 << 20  # bytes of a column that are read at once


def main() -> None:
    """Read rows until the parent closes the socket.

    Arguments: bytes of memory beside what the libraries take, seconds for a request, bytes of the
    largest image, and the descriptor of the file.
    """
    memory, seconds, most_bytes, descriptor = (int(value) for value in sys.argv[1:5])
    keep_freed_memory()
    _read_once()
    with (
        open(descriptor, "rb", buffering=0) as file,  # noqa: PTH123 - a descriptor
        socket.socket(fileno=0) as parent,
    ):
        # A filter confines the thread that installs it, and those that it starts later.
        if _threads() > 1:
            return
        layers = confine(_address_space() + memory)
        parent.sendall(frame(READY, ",".join(layers).encode()))
        table = _Table(file, most_bytes)
        serve(parent, seconds, {SCHEMA: table.schema, CHOOSE: table.choose, NEXT: table.next})


def _read_once() -> None:
    """Read a table in memory, since later no module can be imported."""
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [{"bytes": b"a"}], "b": [["b"]]}), out)
    for batch in _batches(_opened(out), ["a.bytes", "b"], 1):
        batch.to_pylist()


def _address_space() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
            return int(statm.read().split()[0]) * _PAGE
    except OSError:  # a system other than Linux
        return 0


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208
    except OSError:
        return 1


class _Table:
    """A Parquet file, whose rows are read once."""

    def __init__(self, file: io.RawIOBase, most_bytes: int) -> None:
        self._file = file
        self._most_bytes = most_bytes
        self._table: pq.ParquetFile | None = None
        self._rows: Iterator[Mapping[str, Any]] = iter(())

    def schema(self, _: bytes) -> Reply:
        """Open the file; return its columns and the number of its rows as JSON."""
        self._file.seek(-_END.size, os.SEEK_END)
        described, kind = _END.unpack(self._file.read(_END.size) or b"")
        if kind == b"PARE":
            return ENCRYPTED, b""
        table = self._table = _opened(self._file)
        schema, metadata = table.schema_arrow, table.metadata
        # To ask for the size of an encrypted column would end the process.
        if described == metadata.serialized_size + _SIGNATURE:
            return ENCRYPTED, b""
        if len(schema) > MOST_COLUMNS or metadata.num_columns > MOST_COLUMNS:
            return WIDE, b""
        sizes = _sizes(metadata)
        names = _class_names(schema.metadata or {})
        columns = [
            {
                "name": field.name[:MOST_TEXT],
                "type": str(field.type)[:MOST_TEXT],
                "kind": _kind_of(field.type, names.get(field.name)),
                "class_names": names.get(field.name, []),
                **sizes.get(field.name, {"bytes": 0, "largest": 0}),
            }
            for field in schema
        ]
        return OK, json.dumps({"rows": metadata.num_rows, "columns": columns}).encode()

    def choose(self, data: bytes) -> Reply:
        """Prepare to read an image column and maybe one of texts, in batches of so many rows."""
        wanted, table = json.loads(data), self._table
        if table is None:
            return CORRUPT, b""
        kept = [name for name in (wanted["file"], wanted["text"]) if name]
        if image := wanted["image"]:
            parts = _parts(table.schema_arrow.field(image).type)
            kept += [f"{image}.{part}" for part in ("bytes", "path") if part in parts] or [image]
        self._rows = _rows(_batches(table, kept, wanted["batch"]), wanted)
        return OK, b""

    def next(self, _: bytes) -> Reply:
        """Return rows: their descriptions as JSON behind its length, and then their images."""
        rows, images, size = [], [], 0
        while size < REPLY_BYTES and (row := next(self._rows, None)) is not None:
            image, texts = row["image"], row["texts"]
            if texts is not None and len(texts) > MOST_TEXTS:
                return WIDE, b""
            texts = [one[:MOST_TEXT] if isinstance(one, str) else one for one in texts or ()]
            length = ABSENT if image is None else len(image)
            if length > self._most_bytes:
                image, length = None, TOO_LONG
            name = str(row["name"] or "")[:MOST_TEXT]
            rows.append([length, name, texts])
            images.append(image or b"")
            size += max(length, 0) + JSON_BYTES * sum(len(str(one)) + 1 for one in (name, *texts))
        told = json.dumps(rows).encode()
        return OK, b"".join((LENGTH.pack(len(told)), told, *images))


def _opened(file: Any) -> pq.ParquetFile:
    """Open a file so that no thread is needed, and of a column only what comes next is read."""
    return pq.ParquetFile(
        pa.PythonFile(file, mode="r"),
        buffer_size=_AHEAD,
        pre_buffer=False,
        thrift_string_size_limit=MOST_METADATA_BYTES,
        thrift_container_size_limit=MOST_METADATA_BYTES // 4,
        arrow_extensions_enabled=False,
    )


def _batches(table: pq.ParquetFile, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    batches: Iterator[pa.RecordBatch] = table.iter_batches(rows, columns=columns, use_threads=False)
    return batches


def _rows(
    batches: Iterator[pa.RecordBatch], wanted: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    for batch in batches:
        for row in batch.to_pylist():
            # A role without a column is named "", and no column is.
            image, texts = row.get(wanted["image"]), row.get(wanted["text"])
            held = image if isinstance(image, dict) else {"bytes": image}
            yield {
                "image": held.get("bytes"),
                "name": held.get("path") or row.get(wanted["file"]),
                "texts": texts if isinstance(texts, list) or texts is None else [texts],
            }


def _parts(kind: pa.DataType) -> dict[str, pa.DataType]:
    """Return the parts of a struct by name; other types have none."""
    fields = kind if pa.types.is_struct(kind) else ()
    return {field.name: field.type for field in fields}


def _sizes(metadata: pq.FileMetaData) -> dict[str, dict[str, int]]:
    """Return of each column its unpacked bytes, and those in its largest row group."""
    found: dict[str, dict[str, int]] = {}
    for group in range(metadata.num_row_groups):
        row_group, here = metadata.row_group(group), dict[str, int]()
        for number in range(row_group.num_columns):
            part = row_group.column(number)
            name = part.path_in_schema.partition(".")[0]
            here[name] = here.get(name, 0) + max(0, part.total_uncompressed_size)
        for name, size in here.items():
            of_column = found.setdefault(name, {"bytes": 0, "largest": 0})
            of_column["bytes"] += size
            of_column["largest"] = max(of_column["largest"], size)
    return found


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of classes by column, as `datasets` writes them into a schema."""
    written = metadata.get(b"huggingface", b"")
    if not written or len(written) > MOST_METADATA_BYTES:
        return {}
    try:
        features = json.loads(written)["info"]["features"].items()
        return {
            name: [str(one)[:MOST_TEXT] for one in feature["names"]]
            for name, feature in features
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _kind_of(kind: pa.DataType, class_names: list[str] | None) -> ColumnKind:
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        held = _parts(kind).get("bytes")
        return ColumnKind.IMAGE if held is not None and _is_binary(held) else ColumnKind.OTHER
    if _is_binary(kind):
        return ColumnKind.IMAGE
    if types.is_string(kind) or types.is_large_string(kind):
        return ColumnKind.TEXT
    if types.is_list(kind) or types.is_large_list(kind):
        of = _kind_of(kind.value_type, None)
        return ColumnKind.TEXTS if of is ColumnKind.TEXT else ColumnKind.OTHER
    if types.is_integer(kind):
        return ColumnKind.CLASS if class_names is not None else ColumnKind.NUMBER
    return ColumnKind.OTHER


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
