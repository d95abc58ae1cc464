"""The files below a prefix of a bucket, as they were when they were listed."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice

from core.domain.datasets.archive import UnpackedCount
from core.domain.datasets.bucket import BucketListing, BucketObject
from core.ports import ArchivedFile, Buckets

AT_ONCE = 4  # objects whose first piece is fetched while files are read; a store answers slowly

_Begun = tuple[BucketObject, Iterator[bytes], Future[bytes]]


def bucket_files(
    buckets: Buckets, listing: BucketListing, count: UnpackedCount
) -> Iterator[ArchivedFile]:
    """Yield the files of a listing; the first pieces of the next ones are fetched meanwhile.

    Raises ArchiveTooBig. The pieces of a file raise what `Buckets.pieces` raises.
    """
    folder, waiting = listing.folder, iter(listing.objects)
    begun = deque[_Begun]()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as pool:
        while True:
            for listed in islice(waiting, AT_ONCE - len(begun)):
                count.add_file()
                pieces = buckets.pieces(folder.bucket, listed)
                begun.append((listed, pieces, pool.submit(next, pieces, b"")))
            if not begun:
                return
            listed, pieces, first = begun.popleft()
            with closing(_counted(first, pieces, count)) as counted:
                yield ArchivedFile(path=folder.path(listed.key), pieces=counted)


def _counted(
    first: Future[bytes], rest: Iterator[bytes], count: UnpackedCount
) -> Generator[bytes, None, None]:
    count.add_bytes(len(piece := first.result()))
    yield piece
    for piece in rest:
        count.add_bytes(len(piece))
        yield piece
