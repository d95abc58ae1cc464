"""Port for archives, whose files are read as they come."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from core.domain.datasets.archive import ArchiveFormat, UnpackedCount
from core.domain.datasets.archive_path import Path


@dataclass(frozen=True, kw_only=True)
class ArchivedFile:
    """A file in an archive; its bytes can be read once, before the next file is asked for."""

    path: Path
    pieces: Iterator[bytes]


class ArchiveReader(Protocol):
    def files(
        self, archive_format: ArchiveFormat, pieces: Iterator[bytes], count: UnpackedCount
    ) -> Iterator[ArchivedFile]:
        """Yield the files of an archive that comes in pieces, all of which are read.

        What is not read of a file is skipped. Nothing is written to a disk. Raises ArchiveUnsafe,
        ArchiveCorrupt, ArchiveTooBig and what `pieces` raises.
        """
