"""Decompression of gzip, a piece at a time."""

import zlib
from collections.abc import Iterator

from core.errors import ArchiveCorrupt

PIECE = 64 * 1024  # bytes, of what is decompressed at once
_STEP = 16 * 1024  # bytes in; of them, each end of a joined file copies the rest
_GZIP = 16 + zlib.MAX_WBITS


def gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what pieces of gzip decompress to, at most PIECE at once. Raises ArchiveCorrupt."""
    stream = zlib.decompressobj(_GZIP)
    steps = (piece[at : at + _STEP] for piece in pieces for at in range(0, len(piece), _STEP))
    for step in steps:
        rest = step
        while rest:
            if stream.eof:  # gzip files may be joined
                stream = zlib.decompressobj(_GZIP)
            try:
                out = stream.decompress(rest, PIECE)
            except zlib.error as error:
                raise ArchiveCorrupt from error
            rest = stream.unused_data if stream.eof else stream.unconsumed_tail
            if out:
                yield out
    if not stream.eof:
        raise ArchiveCorrupt
