"""Port for buckets whose objects may be imported."""

from collections.abc import Iterator
from typing import Protocol

from core.domain.datasets.bucket import BucketFolder, BucketObject


class Buckets(Protocol):
    """The buckets that the operator has named, and no others."""

    def objects(self, folder: BucketFolder) -> Iterator[BucketObject]:
        """Yield the objects below a prefix, in the order of their keys.

        Raises BucketNotAllowed before any request, or BucketUnavailable.
        """

    def pieces(self, bucket: str, listed: BucketObject) -> Iterator[bytes]:
        """Yield the bytes of an object in pieces; goes on where a connection broke.

        Raises BucketNotAllowed before any request, ObjectChanged before the first piece if the
        object has another ETag now or is gone, and BucketUnavailable.
        """
