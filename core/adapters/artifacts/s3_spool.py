"""Objects on S3 that are too large for memory: written through a file, read in pieces."""

import hashlib
import mmap
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.adapters.artifacts.chunked_io import PIECE
from core.adapters.artifacts.s3_client import S3Location
from core.adapters.artifacts.s3_errors import translate_errors
from core.domain.values import Digest
from core.errors import ArtifactCorrupt, ArtifactsUnavailable, StorageFull, is_full_disk
from core.ports import BytesCallback, ignore_bytes

_BREAKS = 3  # of the connection, without a byte in between


class SpoolWriter:
    """The `ArtifactWriter` port over an unnamed file, which no crash leaves behind."""

    def __init__(
        self, scratch: Path, put: Callable[[bytes | memoryview, BytesCallback], Digest]
    ) -> None:
        self._file = tempfile.TemporaryFile(  # noqa: SIM115 - closed by __exit__
            dir=scratch, buffering=0
        )
        self._put = put

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises StorageFull."""
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if is_full_disk(error):
                raise StorageFull from error
            raise

    def commit(self, moved: BytesCallback = ignore_bytes) -> Digest:
        """Send the file and return its digest. Raises StorageFull or ArtifactsUnavailable."""
        if not self._file.tell():
            return self._put(b"", moved)
        with mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            view = memoryview(mapped)
            try:
                return self._put(view, moved)
            finally:
                view.release()


def read_verified(
    client: Any, place: S3Location, key: str, digest: Digest, moved: BytesCallback
) -> Iterator[bytes]:
    """Yield an object's bytes in pieces, asking for the rest when the connection breaks.

    Raises ArtifactMissing, ArtifactsUnavailable or, after the last piece, ArtifactCorrupt.
    """
    total, done, breaks = hashlib.sha256(), 0, 0
    while True:
        rest = {"Range": f"bytes={done}-"} if done else {}
        with translate_errors(digest):
            answer = client.get_object(Bucket=place.bucket, Key=key, **rest)
        try:
            with translate_errors(), closing(answer["Body"]) as body:
                while piece := body.read(PIECE):
                    total.update(piece)
                    done, breaks = done + len(piece), 0
                    moved(len(piece))
                    yield piece
            break
        except ArtifactsUnavailable:
            breaks += 1
            if breaks == _BREAKS:
                raise
    if total.hexdigest() != digest:
        raise ArtifactCorrupt(digest=digest)
