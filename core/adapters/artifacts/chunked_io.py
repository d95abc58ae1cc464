"""Artifacts in pieces, so that progress on a large one can be reported."""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator

from core.domain.values import Digest
from core.ports import BytesCallback

PIECE = 256 * 1024  # bytes; the kernel spends twice as long on much larger writes


def pieces(data: bytes | memoryview) -> Iterator[memoryview]:
    """Yield consecutive views of at most PIECE bytes, without copying."""
    rest = memoryview(data)
    for begin in range(0, len(rest), PIECE):
        yield rest[begin : begin + PIECE]


def hash_pieces(parts: Iterable[bytes | memoryview], moved: BytesCallback) -> Digest:
    """Return the SHA-256 of the concatenated parts, calling `moved` after each."""
    total = hashlib.sha256()
    for piece in parts:
        total.update(piece)
        moved(len(piece))
    return Digest(total.hexdigest())


def read_pieces(read: Callable[[int], bytes], moved: BytesCallback) -> tuple[bytes, Digest]:
    """Call `read(size)` until it returns nothing; return all bytes and their SHA-256."""
    out, total = io.BytesIO(), hashlib.sha256()
    while piece := read(PIECE):
        out.write(piece)
        total.update(piece)
        moved(len(piece))
    return out.getvalue(), Digest(total.hexdigest())


class ReportingBody(io.BytesIO):
    """A request body that reports every piece which the connection reads."""

    def __init__(self, data: bytes | memoryview, moved: BytesCallback) -> None:
        super().__init__(data)
        self._moved = moved

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` bytes, or all by default, and report how many."""
        piece = super().read(size)
        self._moved(len(piece))
        return piece
