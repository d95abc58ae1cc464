"""Tars in every format, and those that must be refused."""

import io
import tarfile
from collections.abc import Iterator
from itertools import cycle
from random import Random

import pytest

from core.archives.rules import ArchivedFile, UnpackedCount, path_of
from core.archives.streams import MOST_EXTENDED, MOST_HEADER_BYTES, tar_files
from core.errors import ArchiveCorrupt, ArchiveTooBig, ArchiveUnsafe
from tests.support.api.archives import tar_attributes, tarred

BLOCK = 512

END = bytes(2 * BLOCK)

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}

NAMES = ["a/1", "caf\u00e9/\u65e5\u672c.png", "x" * 100, "y" * 155 + "/" + "z" * 100]

LONG_NAMES = ["a/" + "long/" * 40 + "\u00e9" * 99, "n" * 255, "o" * BLOCK]

SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK, 70_000]

Files = list[tuple[tuple[str, ...], bytes]]


def opened(data: bytes, piece: int = 1_000) -> Iterator[ArchivedFile]:
    pieces = (data[start : start + piece] for start in range(0, len(data), piece))
    count = UnpackedCount(archive_bytes=len(data), most_bytes=10**6, most_files=100)
    return tar_files(pieces, count)


def read(data: bytes, piece: int = 1_000) -> Files:
    return [(file.path, b"".join(file.pieces)) for file in opened(data, piece)]


def of_library(data: bytes) -> Files:
    """The files that the standard library finds, which takes damage for the end."""
    with tarfile.open(fileobj=io.BytesIO(data), errors="replace") as archive:
        return [
            (path_of(header.name), found.read())
            for header in archive
            if (found := archive.extractfile(header)) is not None
        ]


def made(kind: str, entries: int = 14) -> tuple[bytes, Files]:
    """A tar with folders, attributes, names and sizes of all kinds, and its files."""
    out, files, sizes = io.BytesIO(), [], cycle(SIZES)
    names = NAMES + (LONG_NAMES if kind != "ustar" else [])
    shared = {"comment": "\u00e9" * 300} if kind == "pax" else {}
    with tarfile.open(
        fileobj=out, mode="w", format=FORMATS[kind], pax_headers=shared or None
    ) as archive:
        for number, name in enumerate((names * 2)[:entries]):
            folder = tarfile.TarInfo(f"folder {number}/" + "d" * 120)
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            header = tarfile.TarInfo(name)
            header.size = next(sizes)
            header.type = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)[number % 3]
            header.pax_headers = shared
            data = Random(number).randbytes(header.size)
            archive.addfile(header, io.BytesIO(data))
            files.append((path_of(name), data))
    return out.getvalue(), files


def block(name: bytes = b"a", *, signed: bool = False, **fields: bytes) -> bytes:
    """A header with fields as they are to be written, and its checksum."""
    places = {"mode": 100, "size": 124, "kind": 156, "magic": 257, "device": 329, "prefix": 345}
    data = bytearray(name.ljust(BLOCK, b"\0"))
    for field, value in fields.items():
        data[places[field] : places[field] + len(value)] = value
    return summed(data, signed=signed)


def summed(data: bytearray, *, signed: bool = False) -> bytes:
    """A header with the checksum of what is in it."""
    data[148:156] = b" " * 8
    total = sum(data) - 256 * signed * sum(byte > 127 for byte in data)
    data[148:156] = b"%06o\0 " % total
    return bytes(data)


def extended(kind: bytes, data: bytes) -> bytes:
    """An extended header with its data."""
    return block(kind=kind, size=b"%o" % len(data)) + data + bytes(-len(data) % BLOCK)


def record(text: bytes) -> bytes:
    """A record of attributes without its length, with it."""
    return b"%d %s\n" % (len(text) + 4, text)


DATA = b"abc".ljust(BLOCK, b"\0")

THREE = block(size=b"3") + DATA


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("piece", [1, BLOCK, 777, 10**6])
def test_a_tar_of_any_format_brings_what_was_put_in(kind: str, piece: int) -> None:
    data, files = made(kind)
    assert read(data, piece) == files == of_library(data)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (block(size=b"0000000003\0"), "a"),
        (block(size=b"3\0garbage", magic=b"ustar  \0"), "a"),
        (block(size=b"\x80" + bytes(10) + b"\3"), "a"),
        (block(size=b"3", kind=b"0", device=b"\xff" * 8), "a"),
        (block(b"\xc3\xa9", size=b"3", signed=True), "\u00e9"),
        (block(b"a/", size=b"3", kind=b"0"), "a"),
        (block(size=b"3", prefix=b"d/e"), "d/e/a"),
        (extended(b"L", b"long") + block(size=b"3", prefix=b"d"), "long"),
        (extended(b"K", b"of a link") + block(size=b"3"), "a"),
        (extended(b"x", record(b"path=b=c")) + block(size=b"3", prefix=b"d"), "b=c"),
        (extended(b"X", record(b"path=bbb")) + block(size=b"3"), "bbb"),
        (extended(b"x", record(b"path=bbb") + record(b"path=ccc")) + block(size=b"3"), "ccc"),
        (extended(b"x", record(b"path=bbb") + bytes(9)) + block(size=b"3"), "bbb"),
        (extended(b"x", record(b"size=003")) + block(size=b"777777"), "a"),
        (extended(b"g", record(b"path=bbb")) + block(size=b"3"), "bbb"),
        (extended(b"g", record(b"path=bb")) + extended(b"L", b"l") + block(size=b"3"), "l"),
        (extended(b"x", record(b"path=bb")) + extended(b"L", b"l") + block(size=b"3"), "bb"),
    ],
)
def test_names_and_sizes_may_be_written_in_many_ways(header: bytes, name: str) -> None:
    after = extended(b"L", b"z") + THREE  # which nothing of the file in front holds for
    assert read(header + DATA + after + END) == [(path_of(name), b"abc"), (("z",), b"abc")]


def test_attributes_hold_for_one_file_or_for_all_that_follow() -> None:
    own, shared = (extended(kind, record(b"path=bbb")) for kind in (b"x", b"g"))
    assert [path for path, _ in read(own + THREE + THREE + END)] == [("bbb",), ("a",)]
    assert [path for path, _ in read(THREE + shared + THREE + THREE + END)] == [
        ("a",),
        ("bbb",),
        ("bbb",),
    ]


def test_a_folder_is_no_file_and_has_no_contents() -> None:
    for folder in (block(b"a/", size=b"7"), block(kind=b"5", size=b"7")):
        assert read(folder + THREE + END) == [(("a",), b"abc")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        THREE,
        THREE + bytes(BLOCK - 1),
        THREE + block()[:-1],
        THREE[: BLOCK + 2],
        block(size=b"\x80" + b"\1" * 11) + DATA + END,
        block(size=b"\xff" * 12) + DATA + END,
        block(size=b"9") + DATA + END,
        block(size=b"\x81" + bytes(10) + b"\3") + DATA + END,
        block(size=b"3", mode=b"rwxr-xr-x"[:8]) + DATA + END,
        block(size=b"3", device=b"\xe9") + DATA + END,
        extended(b"L", b"long") + END,
        extended(b"x", record(b"path=bbb")) + END,
        extended(b"g", record(b"path=bbb")) + END,
        block(kind=b"L", size=b"\xff" * 12) + THREE + END,
        extended(b"g", record(b"size=003")) + THREE + END,
    ],
)
def test_what_lacks_its_end_or_says_what_cannot_be_is_corrupt(data: bytes) -> None:
    with pytest.raises(ArchiveCorrupt):
        read(data)


@pytest.mark.parametrize(
    "records",
    [
        b"path=bbb\n",
        b"11 path=bbb\n",
        b"14 path=bbb\n",
        b"0 path=bbb\n",
        b"12 path=bbbb\n",
        b"1" * 5_000 + b" path=bbb\n",
        b"5 =b\n",
        b"12 path bbb\n" + record(b"path=bbb"),
        record(b"path=bbb") + b"\0" + record(b"path=bbb"),
        record(b"size=-03"),
        record(b"size=").replace(b"9", b"8", 1),
        b"5010 size=" + b"9" * 4_999 + b"\n",
    ],
)
@pytest.mark.parametrize("kind", [b"x", b"X", b"g"])
def test_attributes_that_do_not_have_their_length_or_give_no_size_are_corrupt(
    kind: bytes, records: bytes
) -> None:
    with pytest.raises(ArchiveCorrupt):
        read(extended(kind, records) + THREE + END)


@pytest.mark.parametrize(
    "data",
    [
        *(block(kind=kind) for kind in (b"1", b"2", b"3", b"4", b"6", b"D", b"M", b"V", b"Z")),
        block(kind=b"S", size=b"3"),
        *(
            extended(kind, record(b"GNU.sparse.%s=1" % name))
            for kind in (b"x", b"X", b"g")
            for name in (b"map", b"name", b"numblocks", b"realsize")
        ),
        *(block(kind=kind, size=b"%o" % (MOST_HEADER_BYTES + 1)) for kind in (b"L", b"K", b"g")),
    ],
)
def test_what_is_neither_file_nor_folder_and_large_headers_are_unsafe(data: bytes) -> None:
    with pytest.raises(ArchiveUnsafe):
        read(data + THREE + END)


def test_the_headers_of_a_header_are_limited() -> None:
    one = extended(b"g", b"")
    assert len(read((one * MOST_EXTENDED + THREE) * 2 + END)) == 2
    with pytest.raises(ArchiveCorrupt):
        read(one * (MOST_EXTENDED + 1) + THREE + END)


@pytest.mark.parametrize("in_names", [True, False])
def test_attributes_of_all_files_are_capped_together_by_names_and_values(in_names: bool) -> None:
    given = [{name * 20_000: ""} if in_names else {name: "x" * 20_000} for name in "abcd"]
    headers = [tar_attributes(b"g", **attributes) + THREE for attributes in given]
    assert len(read(b"".join(headers[:3]) + END)) == 3
    with pytest.raises(ArchiveUnsafe):
        read(b"".join(headers) + END)


def test_a_file_may_be_left_before_its_end_and_ends_with_the_next() -> None:
    files = opened(tarred({"a": bytes(3_000), "b": b"next", "c": b""}), piece=100)
    first = next(files)
    assert next(first.pieces) == bytes(88)  # of the second header's piece
    second = next(files)
    assert list(first.pieces) == []
    assert b"".join(second.pieces) == b"next"
    assert [file.path for file in files] == [("c",)]


def test_bytes_are_counted_before_they_are_used() -> None:
    count = UnpackedCount(archive_bytes=10**6, most_bytes=3 * BLOCK, most_files=9)
    files = tar_files(iter([THREE, THREE + END]), count)
    assert next(files).path == ("a",)
    with pytest.raises(ArchiveTooBig):
        next(files)


@pytest.mark.parametrize("kind", FORMATS)
def test_of_a_damaged_tar_is_read_what_the_library_reads_or_nothing(kind: str) -> None:
    data, _ = made(kind, entries=4)
    choice, same = Random(kind), 0
    for _ in range(400):
        broken = damaged(data, choice)
        try:
            found = read(broken)
        except (ArchiveCorrupt, ArchiveUnsafe, ArchiveTooBig):
            continue
        assert found == of_library(broken)
        same += 1
    assert 40 < same < 360


def damaged(data: bytes, choice: Random) -> bytes:
    """A tar with damage to a block, and with checksums that are right again half of the time."""
    blocks = [bytearray(data[start : start + BLOCK]) for start in range(0, len(data), BLOCK)]
    place = choice.choice([place for place, one in enumerate(blocks) if any(one)])
    one, other = blocks[place], choice.choice(blocks)
    match choice.randrange(6):
        case 0:
            one[choice.randrange(BLOCK)] ^= 1 << choice.randrange(8)
        case 1:
            del blocks[place]
        case 2:
            blocks.insert(place, other)
        case 3:
            one[124:136] = choice.choice([b"%011o\0" % choice.choice(SIZES), b"\xff" * 12])
        case 4:
            one[156:157] = choice.choice([b"0", b"\0", b"5", b"7", b"L", b"K", b"x", b"g"])
        case _:
            one[:] = other
    right = choice.random() < 0.5
    return b"".join(summed(one) if right and one[257:262] == b"ustar" else one for one in blocks)
