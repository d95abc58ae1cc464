"""Parquet files, read row by row in a confined process."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pyarrow as pa
import pytest

from core.archives import tables
from core.archives.tables import ChosenColumns, Row, Table, TableReader
from core.errors import ArchiveCorrupt, ArchiveTooBig, ArchiveUnsafe, PerennialError, TableInvalid
from core.images import process
from core.images.confinement import CALLS, is_supported
from core.images.frames import LENGTH
from tests.support.api.tables import as_datasets_writes, encrypted_parquet, parquet

IMAGES = [Random(seed).randbytes(3_000) for seed in range(40)]
PLAIN = {"image": IMAGES, "label": ["boot"] * 40}


def reader(folder: Path, **changes: Any) -> TableReader:
    limits = {"seconds": 20, "memory_bytes": 256 * 1024**2, "file_bytes": 100_000}
    return TableReader(folder=folder, **limits | changes)


def chosen(table: Table, **names: str) -> ChosenColumns:
    columns = {one.name: one for one in table.columns}
    return ChosenColumns(**{role: columns[name] for role, name in names.items()})


def rows(folder: Path, data: bytes, text: str = "label", **changes: Any) -> Sequence[Row]:
    with reader(folder, **changes).opened(iter([data[:100], data[100:]])) as table:
        return list(table.read(chosen(table, image="image", text=text)))


def refused(folder: Path, data: bytes, **changes: Any) -> type[PerennialError]:
    with pytest.raises(PerennialError) as caught:
        rows(folder, data, **changes)
    assert not list(folder.iterdir())
    return caught.type


def test_columns_are_told_with_what_they_can_be_read_as(tmp_path: Path) -> None:
    nested = pa.array([{"bytes": {"deep": 1}}])
    data = parquet(
        {
            "struct": [{"bytes": b"a", "path": "a.png"}],
            "binary": [b"a"],
            "text": ["a"],
            "texts": [["a", "b"]],
            "dictionary": pa.array(["a"]).dictionary_encode(),
            "number": [1],
            "nested": nested,
            "lists": [[[1]]],
        }
    )
    with reader(tmp_path).opened(iter([data])) as table:
        kinds = {one.name: one.kind.value for one in table.columns}
    assert kinds == {
        **{"struct": "image", "binary": "image", "text": "text", "texts": "texts"},
        **{"dictionary": "text", "number": "number", "nested": "other", "lists": "other"},
    }


def test_rows_come_with_the_names_that_numbers_of_classes_have(tmp_path: Path) -> None:
    labels = [at % 3 - 1 for at in range(40)]  # -1: none, as in a test split
    found = rows(tmp_path, as_datasets_writes(IMAGES, labels, ["bag", "boot"], row_group_size=7))
    assert [row.image for row in found] == IMAGES
    assert [row.name for row in found[:2]] == ["0.png", "1.png"]
    assert [row.texts for row in found[:3]] == [[], ["bag"], ["boot"]]


def test_texts_may_be_several_or_missing_and_so_may_images(tmp_path: Path) -> None:
    data = parquet({"image": [b"a", None, b"c"], "text": [["a", "b"], ["c"], None]})
    found = rows(tmp_path, data, "text")
    assert [(row.image, row.texts) for row in found] == [
        (b"a", ["a", "b"]), (None, ["c"]), (b"c", []),
    ]  # fmt: skip


def test_an_image_that_is_too_large_is_left_where_it_is(tmp_path: Path) -> None:
    data = parquet({"image": [b"a" * 100_001, b"b"], "label": ["x", "y"]})
    found = rows(tmp_path, data)
    assert [(row.image, row.is_too_large) for row in found] == [(None, True), (b"b", False)]


@pytest.mark.parametrize("plain_footer", [True, False])
def test_encrypted_files_are_refused(tmp_path: Path, plain_footer: bool) -> None:
    assert refused(tmp_path, encrypted_parquet(plain_footer=plain_footer)) is ArchiveUnsafe


def test_what_is_damaged_or_cut_short_is_refused(tmp_path: Path) -> None:
    data = parquet(PLAIN)
    for broken in (b"PAR1", data[:-9], data[: len(data) // 2], data[:4] + bytes(len(data) - 4)):
        assert refused(tmp_path, broken) is ArchiveCorrupt
    changed = bytearray(data)
    changed[20:40] = b"\xff" * 20  # the header of the first page
    assert refused(tmp_path, bytes(changed)) is ArchiveCorrupt


def test_more_rows_than_the_file_says_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reader(tmp_path).opened(iter([parquet(PLAIN)])) as table:
        table.rows -= 1
        with pytest.raises(ArchiveCorrupt):
            list(table.read(chosen(table, image="image")))


def test_too_many_columns_or_texts_of_a_row_are_refused(tmp_path: Path) -> None:
    many = {f"column {at}": ["a"] for at in range(tables.MOST_COLUMNS + 1)}
    assert refused(tmp_path, parquet(many)) is TableInvalid
    texts = parquet({"image": [b"a"], "text": [["a"] * (tables.MOST_TEXTS + 1)]})
    assert refused(tmp_path, texts, text="text") is TableInvalid


def test_a_row_group_is_measured_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_GROUP_BYTES", 60_000)
    small = parquet(PLAIN, row_group_size=10, use_dictionary=False)
    assert len(rows(tmp_path, small)) == 40
    assert refused(tmp_path, parquet(PLAIN)) is ArchiveTooBig


def test_memory_is_limited_whatever_the_file_says_of_its_size(tmp_path: Path) -> None:
    zeros = parquet({"image": [bytes(90_000)] * 4_000, "label": ["a"] * 4_000}, compression="zstd",
                    use_dictionary=False)  # fmt: skip
    assert len(zeros) < 200_000  # one page for every 1,024 rows: 92 MB
    assert len(rows(tmp_path, zeros)) == 4_000
    assert refused(tmp_path, zeros, memory_bytes=64 * 1024**2) is ArchiveTooBig


def test_a_process_that_hangs_is_killed(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    with reader(tmp_path, seconds=2).opened(iter([parquet(PLAIN)])) as table:
        [child] = set(psutil.Process().children()) - before
        child.suspend()
        with pytest.raises(ArchiveCorrupt):
            next(table.read(chosen(table, image="image")))
    assert not child.is_running()


# ---- What a process could do that was taken over ---------------------------------------------

TAKEN_OVER = """
import sys
sys.path.insert(0, sys.argv.pop(1)); sys.argv.pop(1)
from core.archives import table_child
from core.images.frames import OK
def obey(self, data):
    try:
        return OK, repr(eval(data)).encode()
    except BaseException as fault:
        return OK, type(fault).__name__.encode()
table_child._Table.choose = obey
table_child.main()
"""


@pytest.mark.skipif(not is_supported(), reason="the system's calls cannot be filtered")
def test_the_process_has_one_thread_and_reaches_nothing_but_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_PROGRAM", TAKEN_OVER)
    before = set(psutil.Process().children())
    with reader(tmp_path).opened(iter([parquet(PLAIN)])) as table:
        [child] = set(psutil.Process().children()) - before
        confined = table._process

        def ask(deed: str) -> str:
            sent = deed.encode()
            request = tables.CHOOSE + LENGTH.pack(len(sent)) + sent
            return confined.ask_once(request, 10_000)[1].decode()

        assert CALLS in confined.layers
        assert child.num_threads() == 1
        assert ask("1 + 1") == "2"
        for deed in (
            "open('/etc/passwd')",
            "__import__('socket').socket()",
            "__import__('os').fork()",
            "__import__('os').kill(1, 0)",
            "__import__('_thread').start_new_thread(print, ())",
            "__import__('os').write(int(sys.argv[4]), b'x')",
        ):
            assert ask(deed) in {"PermissionError", "OSError", "RuntimeError"}, deed
        assert ask("bytearray(2**30)") == "MemoryError"
        assert ask("dict(__import__('os').environ)").count("PERENNIAL") == 0
