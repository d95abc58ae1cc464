"""Addresses of objects in buckets, and listings of them."""

import pytest

from core.archives.rules import BucketFolder, BucketListing, BucketObject
from core.errors import ArchiveUnsafe, FieldInvalid


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
