"""The `ArchiveReader` port over zip, tar, tar.gz and listings of buckets."""

from collections.abc import Iterator

from core.adapters.archives.bucket_files import bucket_files
from core.adapters.archives.gunzip import gunzip
from core.adapters.archives.tar_stream import tar_files
from core.adapters.archives.zip_stream import zip_files
from core.domain.datasets.archive import ArchiveFormat, UnpackedCount
from core.domain.datasets.bucket import BucketListing
from core.ports import ArchivedFile, Buckets


class StreamingArchiveReader:
    """Reads archives from beginning to end, without a place to unpack them to."""

    def __init__(self, buckets: Buckets) -> None:
        """Prepare to read archives, and the objects of these buckets."""
        self._buckets = buckets

    def files(
        self, archive_format: ArchiveFormat, pieces: Iterator[bytes], count: UnpackedCount
    ) -> Iterator[ArchivedFile]:
        """Yield the files of an archive, each to be read before the next.

        Raises ArchiveUnsafe, ArchiveCorrupt or ArchiveTooBig.
        """
        match archive_format:
            case ArchiveFormat.ZIP:
                yield from zip_files(pieces, count)
            case ArchiveFormat.TAR:
                yield from tar_files(pieces, count)
            case ArchiveFormat.TAR_GZ:
                unpacked = gunzip(pieces)
                yield from tar_files(unpacked, count)
                for rest in unpacked:  # whose end tells that nothing is missing
                    count.add_bytes(len(rest))
            case ArchiveFormat.S3:
                listing = BucketListing.from_bytes(b"".join(pieces))
                yield from bucket_files(self._buckets, listing, count)
        for _ in pieces:  # the store verifies what was read to its end
            pass
