"""Unpack an archive: decode its images as they come, and read its image lists."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from core.domain.datasets.archive import HEAD_BYTES, UnpackedCount, is_archive
from core.domain.datasets.archive_path import Path, is_ignored, is_list, shown
from core.domain.datasets.dataset import DatasetKind
from core.domain.datasets.image_list import ListedImage, read_image_list
from core.domain.jobs.order import ImportImagesOrder
from core.domain.values import Digest
from core.errors import ArchiveEmpty, ArchiveUnsafe, FileTooLarge, Invalid
from core.ports import (
    ArchivedFile,
    ArchiveReader,
    Decoder,
    ImageWithThumbnail,
    Monitor,
    Platform,
)
from core.use_cases.datasets.datasets import receive_image

AT_ONCE = 4  # images that are decoded or stored while the archive is read on
PHASE = "unpacking"

Decoded = ImageWithThumbnail | Invalid  # a stored image, or the reason why not


@dataclass(kw_only=True)
class Unpacked:
    """The images of an archive, in its order, and the lines of its image lists."""

    paths: list[Path] = field(default_factory=list)
    images: list[Decoded] = field(default_factory=list)  # one for each path
    listed: list[ListedImage] | None = None  # None: it has no image list


class Unpacking:
    """Reads a stored archive once, from its beginning to its end."""

    def __init__(
        self,
        platform: Platform,
        archives: ArchiveReader,
        decoder: Decoder,
        *,
        kind: DatasetKind,
        keep: Callable[[bytes], Digest],
        monitor: Monitor,
    ) -> None:
        """Prepare to read; `keep` stores the form of an image that stays."""
        self._platform = platform
        self._archives = archives
        self._decoder = decoder
        self._kind = kind
        self._keep = keep
        self._monitor = monitor
        self._read = 0  # bytes of the archive

    def unpack(self, order: ImportImagesOrder) -> Unpacked:
        """Return what an archive holds, once all of it was read.

        Raises ArchiveUnsafe, ArchiveCorrupt, ArchiveTooBig, ArchiveEmpty, ImageListInvalid, and
        what the monitor raises. Progress is in bytes of the archive.
        """
        settings = self._platform.settings
        count = UnpackedCount(
            archive_bytes=order.archive_bytes,
            most_bytes=settings.max_unpacked_bytes,
            most_files=settings.max_import_files,
        )
        found, decoding = Unpacked(), deque[Future[Decoded]]()
        pieces = self._platform.artifacts.pieces(order.archive, self._moved)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="decode") as pool:
            for file in self._archives.files(order.archive_format, pieces, count):
                self._monitor.advance(PHASE, self._read, order.archive_bytes)
                path = file.path
                if is_ignored(path):
                    continue
                data = self._whole(file, path)
                if is_list(path):
                    found.listed = (found.listed or []) + list(self._lines(path, data, count))
                    continue
                found.paths.append(path)
                while len(decoding) >= AT_ONCE:
                    found.images.append(decoding.popleft().result())
                decoding.append(pool.submit(self._decode, data))
            found.images += [future.result() for future in decoding]
        self._monitor.advance(PHASE, order.archive_bytes, order.archive_bytes)
        if not found.paths and found.listed is None:
            raise ArchiveEmpty
        return found

    def _moved(self, count: int) -> None:
        self._read += count
        self._monitor.moved(count)

    def _whole(self, file: ArchivedFile, path: Path) -> bytes | None:
        """Return the bytes of a file, or None if they are too many. Raises ArchiveUnsafe."""
        data, most = bytearray(), self._platform.settings.max_file_bytes
        for piece in file.pieces:
            data += piece
            if len(data) > most:
                break
        if is_archive(bytes(data[:HEAD_BYTES])):
            raise ArchiveUnsafe(
                "The archive holds another archive or a compressed file.", file=shown(path)
            )
        return bytes(data) if len(data) <= most else None

    def _lines(self, path: Path, data: bytes | None, count: UnpackedCount) -> Iterator[ListedImage]:
        if data is None:
            raise FileTooLarge("An image list exceeds the size limit.", file=shown(path))
        for line in read_image_list(path, data, self._kind):
            count.add_file()
            yield line

    def _decode(self, data: bytes | None) -> Decoded:
        if data is None:
            return FileTooLarge()
        try:
            return receive_image(self._keep, self._decoder, data)
        except Invalid as refusal:
            return refusal
