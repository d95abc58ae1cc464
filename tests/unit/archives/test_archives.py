"""Formats and paths of archives, limits of unpacking, and listings of objects in buckets."""

import pytest

from core.archives.rules import (
    ArchiveFormat,
    BucketFolder,
    BucketListing,
    BucketObject,
    UnpackedCount,
    folder_of,
    format_of,
    is_archive,
    is_ignored,
    is_list,
    path_of,
    shown,
)
from core.errors import ArchiveTooBig, ArchiveUnsafe, FieldInvalid, UnsupportedArchive


def test_the_first_bytes_tell_the_format() -> None:
    tar = bytes(257) + b"ustar\0" + bytes(249)
    assert format_of(b"PK\x03\x04...") is ArchiveFormat.ZIP
    assert format_of(b"PK\x05\x06...") is ArchiveFormat.ZIP
    assert format_of(b"\x1f\x8b...") is ArchiveFormat.TAR_GZ
    assert format_of(tar) is ArchiveFormat.TAR
    for head in (b"", b"BZh9", b"7z\xbc\xaf\x27\x1c", b"\x89PNG", tar[1:]):
        with pytest.raises(UnsupportedArchive):
            format_of(head)


def test_what_is_packed_again_is_told_from_images() -> None:
    for head in (
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"BZh9",
        b"\xfd7zXZ\0",
        b"Rar!\x1a",
        b"(\xb5/\xfd",
    ):
        assert is_archive(head)
    for head in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n", b"RIFF", b"BM", b"file,class"):
        assert not is_archive(head)


def test_one_byte_and_one_file_more_are_too_much() -> None:
    count = UnpackedCount(archive_bytes=2, most_bytes=150, most_files=2)
    count.add_bytes(150)
    with pytest.raises(ArchiveTooBig, match="more than 150 bytes"):
        count.add_bytes(1)
    count = UnpackedCount(archive_bytes=1, most_bytes=150, most_files=2)
    count.add_bytes(100)
    with pytest.raises(ArchiveTooBig, match="100 times its size"):
        count.add_bytes(1)
    count.add_file()
    count.add_file()
    with pytest.raises(ArchiveTooBig, match="more than 2 files"):
        count.add_file()


@pytest.mark.parametrize(
    "path", ["../a", "a/../../b", "a/..", "/a", "\\a", "..\\a", "C:\\a", "c:a"]
)
def test_a_path_that_leads_out_is_unsafe(path: str) -> None:
    with pytest.raises(ArchiveUnsafe) as caught:
        path_of(path)
    assert caught.value.facts == {"file": path}


def test_a_path_is_its_parts() -> None:
    assert path_of("./shoes\\boot//1.png") == ("shoes", "boot", "1.png")
    assert path_of("a..b/...") == ("a..b", "...")
    assert path_of(".") == ()
    assert path_of("cafe\u0301/1.png") == path_of("caf\u00e9/1.png") == ("caf\u00e9", "1.png")
    assert folder_of(("shoes", "boot", "1.png")) == "boot"
    assert folder_of(("1.png",)) is None


def test_a_long_path_is_unsafe() -> None:
    assert path_of("x" * 1_000) == ("x" * 1_000,)
    with pytest.raises(ArchiveUnsafe, match="1,000 characters"):
        path_of("x" * 1_001)


def test_a_path_is_shown_without_what_cannot_be_printed() -> None:
    assert shown(("a\0\n\ud800", "\u202eb")) == "a/b"
    assert len(shown(("x" * 500,))) == 300


def test_hidden_files_and_those_of_systems_are_ignored() -> None:
    for path in ((".a",), ("a", ".b"), (".git", "a"), ("__MACOSX", "a"), ("a", "Thumbs.db"), ()):
        assert is_ignored(path)
    assert not is_ignored(("a", "b.png"))
    assert is_list(("a", "B.CSV"))
    assert is_list(("x.jsonl",))
    assert not is_list(("csv",))


@pytest.mark.parametrize(
    ("address", "bucket", "prefix"),
    [
        ("s3://photos", "photos", ""),
        ("s3://photos/", "photos", ""),
        ("s3://photos/shoes", "photos", "shoes/"),
        ("s3://photos/shoes/", "photos", "shoes/"),
        ("s3://photos/a?b#c/d e", "photos", "a?b#c/d e/"),
        ("s3://photos//odd", "photos", "/odd/"),
    ],
)
def test_an_address_is_a_bucket_and_the_folder_below_it(
    address: str, bucket: str, prefix: str
) -> None:
    folder = BucketFolder.of(address)
    assert (folder.bucket, folder.prefix) == (bucket, prefix)
    assert BucketFolder.of(str(folder)) == folder


@pytest.mark.parametrize(
    "address",
    [
        "",
        "photos/shoes",
        "s3://",
        "s3:///shoes",
        "http://photos",
        "s3://a/b\n",
        "s3://a/" + "b" * 1024,
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(FieldInvalid):
        BucketFolder.of(address)


def test_paths_begin_below_the_prefix() -> None:
    folder = BucketFolder.of("s3://photos/shoes")
    assert folder.path("shoes/ankle boot/1.jpg") == ("ankle boot", "1.jpg")
    assert folder.path("shoes/shoes/1.jpg") == ("shoes", "1.jpg")
    with pytest.raises(ArchiveUnsafe):
        folder.path("shoes/../1.jpg")
    with pytest.raises(ArchiveUnsafe):
        folder.is_file("shoes/" + "a/" * 500 + "1.jpg")


def test_marks_of_folders_and_hidden_objects_are_no_files() -> None:
    folder = BucketFolder.of("s3://photos/shoes")
    keys = ["shoes/", "shoes/boot/", "shoes/.tmp/1.jpg", "shoes/Thumbs.db", "shoes/1.jpg"]
    assert [key for key in keys if folder.is_file(key)] == ["shoes/1.jpg"]


def test_a_listing_is_stored_as_it_is() -> None:
    listing = BucketListing(
        folder=BucketFolder.of("s3://photos/shoes"),
        objects=[
            BucketObject(key="shoes/ä\u2028\r.jpg", etag='"0a"', size=3),
            BucketObject(key="shoes/b.jpg", etag='"0b-2"', size=4),
        ],
    )
    assert BucketListing.from_bytes(listing.to_bytes()) == listing
    assert listing.size == 7
