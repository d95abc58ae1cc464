"""The files below a prefix of a bucket, as they were when they were listed."""

from collections.abc import Generator, Iterator
from contextlib import closing

from core.domain.datasets.archive import UnpackedCount
from core.domain.datasets.bucket import BucketListing
from core.ports import ArchivedFile, Buckets


def bucket_files(
    buckets: Buckets, listing: BucketListing, count: UnpackedCount
) -> Iterator[ArchivedFile]:
    """Yield the files of a listing; one is fetched when its first piece is asked for.

    Raises ArchiveTooBig. The pieces of a file raise what `Buckets.pieces` raises.
    """
    folder = listing.folder
    for listed in listing.objects:
        count.add_file()
        with closing(_counted(buckets.pieces(folder.bucket, listed), count)) as pieces:
            yield ArchivedFile(path=folder.path(listed.key), pieces=pieces)


def _counted(pieces: Iterator[bytes], count: UnpackedCount) -> Generator[bytes, None, None]:
    for piece in pieces:
        count.add_bytes(len(piece))
        yield piece
