"""The files of a listing: in order, fetched ahead, and each with what it raises."""

import itertools
import threading
from collections.abc import Iterator

import pytest

from core.archives.reader import AT_ONCE, bucket_files
from core.archives.rules import BucketFolder, BucketListing, BucketObject, UnpackedCount
from core.errors import ArchiveTooBig, ObjectChanged

WAIT_S = 60.0


class SlowBuckets:
    """Buckets that answer as soon as so many objects are asked for at once; `gone` has changed."""

    def __init__(self, together: int) -> None:
        self._all_there = threading.Barrier(together)
        self.read: list[str] = []

    def objects(self, folder: BucketFolder) -> Iterator[BucketObject]:
        raise NotImplementedError

    def pieces(self, bucket: str, listed: BucketObject) -> Iterator[bytes]:
        self._all_there.wait(WAIT_S)
        if listed.key == "gone":
            raise ObjectChanged
        for half in (listed.key[:1], listed.key[1:]):
            self.read.append(half)
            yield half.encode()


def listing(*keys: str) -> BucketListing:
    objects = [BucketObject(key=key, etag='"0"', size=len(key)) for key in keys]
    return BucketListing(folder=BucketFolder(bucket="photos"), objects=objects)


def count(most_bytes: int = 100, most_files: int = 100) -> UnpackedCount:
    return UnpackedCount(archive_bytes=100, most_bytes=most_bytes, most_files=most_files)


def test_first_pieces_are_fetched_at_once_and_files_come_in_order() -> None:
    keys = [f"a{n}" for n in range(2 * AT_ONCE)]
    files = bucket_files(SlowBuckets(AT_ONCE), listing(*keys), count())
    assert [b"".join(file.pieces).decode() for file in files] == keys


def test_a_changed_object_is_told_at_its_own_file_and_the_others_go_on() -> None:
    found = []
    for file in bucket_files(SlowBuckets(1), listing("a1", "gone", "a2"), count()):
        try:
            found.append(b"".join(file.pieces))
        except ObjectChanged:
            found.append(b"changed")
    assert found == [b"a1", b"changed", b"a2"]


def test_what_is_not_read_of_a_file_is_not_fetched() -> None:
    buckets = SlowBuckets(1)
    for file in bucket_files(buckets, listing("a1", "b2"), count()):
        assert len(next(file.pieces)) == 1
    assert sorted(buckets.read) == ["a", "b"]


def test_files_and_bytes_are_capped() -> None:
    with pytest.raises(ArchiveTooBig):
        list(bucket_files(SlowBuckets(1), listing("a1", "a2"), count(most_files=1)))
    files = bucket_files(SlowBuckets(1), listing("a1", "a2"), count(most_bytes=3))
    with pytest.raises(ArchiveTooBig):
        list(itertools.chain.from_iterable(file.pieces for file in files))
