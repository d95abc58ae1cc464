"""Unpack an archive: decode its images as they come, and read its image lists.

Objects of a bucket are read in the same way; a listing of them stands for the archive.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from core.domain.datasets.archive import HEAD_BYTES, ArchiveFormat, UnpackedCount, is_archive
from core.domain.datasets.archive_path import Path, is_ignored, is_list, shown
from core.domain.datasets.dataset import DatasetKind
from core.domain.datasets.image_list import ListedImage, read_image_list
from core.domain.jobs.order import ImportImagesOrder
from core.domain.values import Digest
from core.errors import ArchiveEmpty, ArchiveUnsafe, FileTooLarge, Invalid, ObjectChanged
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

        Raises ArchiveUnsafe, ArchiveCorrupt, ArchiveTooBig, ArchiveEmpty, ImageListInvalid, what
        `Buckets.pieces` and the monitor raise. Progress is in bytes of the archive, or of objects.
        """
        settings = self._platform.settings
        count = UnpackedCount(
            archive_bytes=order.archive_bytes,
            most_bytes=settings.max_unpacked_bytes,
            most_files=settings.max_import_files,
        )
        from_bucket = order.archive_format is ArchiveFormat.S3
        phase = "fetching" if from_bucket else "unpacking"
        found, decoding = Unpacked(), deque[Future[Decoded]]()
        pieces = self._platform.artifacts.pieces(order.archive, self._moved)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="decode") as pool:
            for file in self._archives.files(order.archive_format, pieces, count):
                read = count.bytes if from_bucket else self._read
                self._monitor.advance(phase, read, order.archive_bytes)
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
        self._monitor.advance(phase, order.archive_bytes, order.archive_bytes)
        if not found.paths and found.listed is None:
            raise ArchiveEmpty
        return found

    def _moved(self, count: int) -> None:
        self._read += count
        self._monitor.moved(count)

    def _whole(self, file: ArchivedFile, path: Path) -> bytes | Invalid:
        """Return the bytes of a file, or why it cannot be read. Raises ArchiveUnsafe."""
        data, most = bytearray(), self._platform.settings.max_file_bytes
        try:
            for piece in file.pieces:
                self._monitor.moved(len(piece))
                data += piece
                if len(data) > most:
                    break
        except ObjectChanged as changed:
            return changed
        if is_archive(bytes(data[:HEAD_BYTES])):
            raise ArchiveUnsafe(
                "An archive or a compressed file cannot be imported as an image.", file=shown(path)
            )
        return bytes(data) if len(data) <= most else FileTooLarge()

    def _lines(
        self, path: Path, data: bytes | Invalid, count: UnpackedCount
    ) -> Iterator[ListedImage]:
        if isinstance(data, FileTooLarge):
            raise FileTooLarge("An image list exceeds the size limit.", file=shown(path))
        if isinstance(data, Invalid):
            raise type(data)(file=shown(path))
        for line in read_image_list(path, data, self._kind):
            count.add_file()
            yield line

    def _decode(self, data: bytes | Invalid) -> Decoded:
        if isinstance(data, Invalid):
            return data
        try:
            return receive_image(self._keep, self._decoder, data)
        except Invalid as refusal:
            return refusal
