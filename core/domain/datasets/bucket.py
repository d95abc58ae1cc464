"""Objects of an S3 bucket, named by key and ETag, which are imported like files of an archive."""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from core.domain.datasets.archive_path import Path, is_ignored, path_of
from core.domain.values import canonical_json
from core.errors import FieldInvalid

SCHEME = "s3://"
MOST_KEY_BYTES = 1024  # of a key, and so of a prefix
_ODD = {"Cc", "Cs"}  # Unicode categories: control characters and halves of characters


@dataclass(frozen=True, kw_only=True)
class BucketFolder:
    """A bucket and a prefix: the part of each key that says where the objects lie."""

    bucket: str
    prefix: str = ""  # "": the whole bucket; otherwise it ends in "/"

    @classmethod
    def of(cls, address: str) -> Self:
        """Parse `s3://bucket/prefix`. Raises FieldInvalid."""
        bucket, _, prefix = address.removeprefix(SCHEME).partition("/")
        if prefix and not prefix.endswith("/"):
            prefix += "/"
        odd = any(unicodedata.category(letter) in _ODD for letter in address)
        if odd or not (address.startswith(SCHEME) and bucket):
            raise FieldInvalid(
                "Name a bucket and a prefix, as in s3://bucket/prefix.", pointer="#query/s3"
            )
        if len(prefix.encode()) > MOST_KEY_BYTES:
            raise FieldInvalid(
                f"A prefix has at most {MOST_KEY_BYTES:,} bytes.", pointer="#query/s3"
            )
        return cls(bucket=bucket, prefix=prefix)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    def path(self, key: str) -> Path:
        """Return the path of an object below the prefix. Raises ArchiveUnsafe."""
        return path_of(key.removeprefix(self.prefix))

    def is_file(self, key: str) -> bool:
        """Return whether an object is to be imported: no folder's mark, and not hidden.

        Raises ArchiveUnsafe for a path that leads out of the prefix or is too long.
        """
        return not key.endswith("/") and not is_ignored(self.path(key))


@dataclass(frozen=True, kw_only=True)
class BucketObject:
    """An object as it was when it was listed."""

    key: str
    etag: str  # which is another one whenever its bytes are replaced
    size: int  # bytes


@dataclass(frozen=True, kw_only=True)
class BucketListing:
    """The objects below a prefix of a bucket, and the only ones that an import of it reads."""

    folder: BucketFolder
    objects: Sequence[BucketObject]

    @property
    def size(self) -> int:
        """The bytes of all objects."""
        return sum(found.size for found in self.objects)

    def to_bytes(self) -> bytes:
        """Return the listing in JSON Lines: the folder, and then the objects in their order."""
        return b"".join(canonical_json(row) + b"\n" for row in self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        yield dict(vars(self.folder))
        yield from (dict(vars(found)) for found in self.objects)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the listing that `to_bytes` wrote."""
        first, *rows = map(json.loads, data.splitlines())
        return cls(folder=BucketFolder(**first), objects=[BucketObject(**row) for row in rows])
