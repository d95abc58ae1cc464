"""The files of archives and of buckets, read as they come."""

import gzip
import io
import itertools
import tracemalloc
import zipfile
from collections.abc import Iterator
from random import Random

import pytest

from core.archives.reader import bucket_files
from core.archives.rules import (
    HEAD_BYTES,
    BucketFolder,
    BucketListing,
    BucketObject,
    UnpackedCount,
    format_of,
)
from core.archives.streams import tar_files
from core.bootstrap import archive_reader
from core.errors import ArchiveCorrupt, ArchiveTooBig, ArchiveUnsafe
from core.settings import Settings
from tests.support.api.archives import (
    encrypted_zip,
    tar_attributes,
    tar_header,
    tar_with,
    tarred,
    zip_with_link,
    zipped,
)

READER = archive_reader(Settings())

FILES = {
    "a/1": Random(1).randbytes(70_000),
    "a/2": b"",
    "caf\u00e9/" + "long " * 40: b"few bytes" * 100,
}

END = bytes(1024)  # of a tar

KINDS = {
    "zip": zipped(FILES),
    "stored zip": zipped(FILES, compression=zipfile.ZIP_STORED),
    "bzip2 zip": zipped(FILES, compression=zipfile.ZIP_BZIP2),
    "tar": tarred(FILES),
    "tar.gz": tarred(FILES, "w:gz"),
}


def read(
    data: bytes, *, piece: int = 4096, files: int = 100, skip: bool = False
) -> dict[str, bytes]:
    """The files of an archive that comes in pieces of some size."""
    pieces = iter([data[start : start + piece] for start in range(0, len(data), piece)])
    count = UnpackedCount(archive_bytes=len(data), most_bytes=10**6, most_files=files)
    found = {}
    for file in READER.files(format_of(data[:HEAD_BYTES]), pieces, count):
        found["/".join(file.path)] = b"" if skip else b"".join(file.pieces)
    assert next(pieces, None) is None  # so that the store has verified them
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_files_come_as_they_were_put_in_however_the_archive_is_cut(kind: str) -> None:
    for piece in (1, 777, 10**6):
        assert read(KINDS[kind], piece=piece) == FILES
    assert list(read(KINDS[kind], skip=True)) == list(FILES)


def test_gzip_files_may_be_joined() -> None:
    data = KINDS["tar"]
    parts = (data[:700], *[b""] * 1_000, data[700:])
    assert read(b"".join(map(gzip.compress, parts)), piece=1_000) == FILES


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_ends_early_is_corrupt(kind: str) -> None:
    data = KINDS[kind]
    last = data.rindex(b"few bytes") - 50 if kind == "tar" else len(data) - 20  # zeros end a tar
    for size in (600, len(data) // 2, last):
        with pytest.raises(ArchiveCorrupt):
            read(data[:size])


def test_a_gzip_with_another_checksum_is_corrupt() -> None:
    with pytest.raises(ArchiveCorrupt):
        read(KINDS["tar.gz"][:-8] + bytes(8))


def test_a_tar_whose_next_header_is_damaged_or_missing_is_corrupt_and_does_not_end_there() -> None:
    data = tarred({"a": bytes(512), "b": b"more"})
    second = 2 * 512  # behind the first header and its file
    damaged = bytearray(data)
    damaged[second] ^= 1
    for one in (bytes(damaged), data[:second], data[: second + 100]):
        with pytest.raises(ArchiveCorrupt):
            read(one)


@pytest.mark.parametrize(
    "data",
    [
        zip_with_link(),
        encrypted_zip(),
        zipped({"../a/": b""}),  # a folder, as are files
        tar_with(name="../a", type=b"5"),
    ],
)
def test_links_encryption_and_folders_outside_are_unsafe(data: bytes) -> None:
    with pytest.raises(ArchiveUnsafe):
        read(data)


def test_headers_of_earlier_files_are_not_kept() -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield tar_attributes(b"x", comment="x" * 60_000) + tar_header("a")
        yield END

    count = UnpackedCount(archive_bytes=10**7, most_bytes=10**7, most_files=100)
    tracemalloc.start()
    try:
        assert sum(1 for _ in tar_files(pieces(), count)) == 100
        assert tracemalloc.get_traced_memory()[1] < 100 * 60_000 / 2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_cannot_be_read_is_no_damage_of_the_archive(kind: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield KINDS[kind][:600]
        raise OSError("the disk is gone")

    count = UnpackedCount(archive_bytes=10**6, most_bytes=10**6, most_files=100)
    files = READER.files(format_of(KINDS[kind]), pieces(), count)
    with pytest.raises(OSError, match="the disk"):
        list(itertools.chain.from_iterable(file.pieces for file in files))


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_files_are_too_much(kind: str) -> None:
    assert len(read(KINDS[kind], files=3)) == 3
    with pytest.raises(ArchiveTooBig):
        read(KINDS[kind], files=2)


def test_too_much_for_the_size_of_the_archive_is_too_much_even_if_it_is_skipped() -> None:
    files = {"a": bytes(2 * 10**5)}
    for data in (zipped(files), tarred(files, "w:gz")):
        with pytest.raises(ArchiveTooBig, match="100 times"):
            read(data, skip=True)


def test_bytes_are_capped() -> None:
    with pytest.raises(ArchiveTooBig, match="1,000,000 bytes"):
        read(tarred({"a": bytes(10**6)}), skip=True)


def test_only_the_end_of_a_zip_is_kept_and_has_its_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.archives.streams.MOST_DIRECTORY_BYTES", 1_000)
    assert read(KINDS["zip"]) == FILES
    with pytest.raises(ArchiveCorrupt):
        read(zipped({f"{number}" * 50: b"" for number in range(10, 30)}))


def test_a_zip_with_other_files_than_its_directory_lists_is_corrupt() -> None:
    one, other = zipped({"a": b"1"}), zipped({"b": b"2"})
    for data in (one + other, one[: one.index(b"PK\x01\x02")] + other):
        with pytest.raises(ArchiveCorrupt, match="other files"):
            read(data)


def test_a_zip_whose_files_have_no_sizes_in_front_says_what_to_do() -> None:
    class Pipe(io.BytesIO):
        def tell(self) -> int:
            raise OSError

    out = Pipe()
    with zipfile.ZipFile(out, "w") as archive, archive.open("a", "w") as file:
        file.write(b"some bytes")
    with pytest.raises(ArchiveCorrupt, match="pack it again"):
        read(out.getvalue())


class Spelled:
    """Buckets whose objects are their names, letter by letter."""

    def objects(self, folder: BucketFolder) -> Iterator[BucketObject]:
        raise NotImplementedError

    def pieces(self, bucket: str, listed: BucketObject) -> Iterator[bytes]:
        yield from (letter.encode() for letter in listed.key)


@pytest.mark.parametrize(("most_bytes", "most_files"), [(3, 2), (4, 1)])
def test_files_and_bytes_of_buckets_are_capped(most_bytes: int, most_files: int) -> None:
    objects = [BucketObject(key=key, etag='"0"', size=2) for key in ("a1", "a2")]
    listing = BucketListing(folder=BucketFolder(bucket="photos"), objects=objects)
    count = UnpackedCount(archive_bytes=100, most_bytes=most_bytes, most_files=most_files)
    files = bucket_files(Spelled(), listing, count)
    with pytest.raises(ArchiveTooBig):
        list(itertools.chain.from_iterable(file.pieces for file in files))
