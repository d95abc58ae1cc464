"""Import the images of an archive into a dataset: all of them in one transaction, or none.

The archive is read to its end first. Nothing of it is in the dataset until the transaction that
also ends the job, so that an import which fails, is cancelled or is killed has changed nothing. A
killed one begins again: the same archive in the same order brings the same draft. Objects of a
bucket are read in the same way; a listing of them stands for the archive.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from core import errors
from core.archives.reader import ArchiveReader, with_shards
from core.archives.rules import (
    HEAD_BYTES,
    ArchivedFile,
    ArchiveFormat,
    Path,
    UnpackedCount,
    is_archive,
    is_ignored,
    is_list,
    is_table,
    shown,
)
from core.archives.tables import Row
from core.database.work import Work
from core.datasets.columns import choose_columns
from core.datasets.image_lists import (
    ImageWithThumbnail,
    ListedImage,
    NamedFile,
    name_files,
    read_image_list,
    row_path,
)
from core.datasets.receive import delete_erased, receive, require_quota, search_uploads
from core.datasets.rows import Datasets
from core.datasets.rules import ERASED, DatasetKind
from core.datasets.sidecars import (
    FIELDS,
    Sample,
    Sidecar,
    is_sidecar,
    read_sidecar,
    split_end,
)
from core.datasets.uploads import (
    Receipt,
    Upload,
    UploadOutcome,
    clean_text,
    receive_image,
    require_room,
)
from core.images.decoder import Decoder
from core.jobs.orders import ImportImagesOrder, JobType
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind, Job, Monitor
from core.platform import Platform
from core.values import Digest, JobId, Json, canonical_json, clean_file_label, json_lines, sha256

# An image is recorded in less time, on a busy machine too. The lease lasts for all of them, since
# nothing renews it meanwhile: on SQLite, the transaction keeps every other from writing.
RECORDING_S = 0.005

AT_ONCE = 4  # images that are decoded or stored while the archive is read on

TableImage = tuple[int, int, tuple[Path, bytes | errors.Invalid]]  # a row, of how many; its image
Decoded = ImageWithThumbnail | errors.Invalid  # a stored image, or the reason why not


@dataclass(kw_only=True)
class Unpacked:
    """The images of an archive, in its order, and the lines of its image lists."""

    paths: list[Path] = field(default_factory=list)
    images: list[Decoded] = field(default_factory=list)  # one for each path
    listed: list[ListedImage] | None = None  # None: it has no image list


def import_images(
    platform: Platform,
    archives: ArchiveReader,
    decoder: Decoder,
    job: Job,
    order: ImportImagesOrder,
    monitor: Monitor,
) -> None:
    """Put the images of an archive into its dataset, write the report of its files, end the job.

    With `validate_only`, no image is stored or recorded, and the report says what would be. Raises
    DatasetNotFound, QuotaExceeded, what `Unpacking.unpack` raises, and Interruption.
    """
    with platform.transactions(read_only=True) as work:
        dataset = work[Datasets].get(order.dataset)
    keep = sha256 if order.validate_only else platform.artifacts.put
    unpacked = Unpacking(
        platform, archives, decoder, kind=dataset.kind, keep=keep, monitor=monitor
    ).unpack(order)
    paths, uploads = _uploads(unpacked, dataset.kind)
    del unpacked
    delete_erased(platform, uploads)
    searched = search_uploads(platform, uploads, partial(monitor.advance, "comparing"))
    monitor.advance("recording", 0, len(uploads))
    with platform.transactions() as work:
        lease_s = platform.settings.lease_seconds + RECORDING_S * len(uploads)
        work[Jobs].renew(job.id, job.fence, lease_s)
        work.commit()
    with platform.transactions() as work:
        require_quota(platform.settings, work, [upload.image for upload in uploads])
        receipts = receive(work, dataset, uploads, searched, platform.clock(), job=job.id)
        if not order.validate_only:
            _finish(platform, work, job, paths, receipts)
            return
    with platform.transactions() as work:  # the other is rolled back
        _finish(platform, work, job, paths, receipts)


def _uploads(unpacked: Unpacked, kind: DatasetKind) -> tuple[list[Path], list[Upload]]:
    """Return the path and the upload of each file, in order.

    That is all that is kept of each: there may be millions. Those of a class share its name.
    """
    paths, uploads, names = list[Path](), list[Upload](), dict[str, str]()
    for file in name_files(unpacked.paths, unpacked.listed, kind):
        upload = _upload(file, unpacked.images, kind)
        if kind is DatasetKind.LABELLED:
            upload = replace(upload, text=names.setdefault(upload.text, upload.text))
        paths.append(file.path)
        uploads.append(upload)
    return paths, uploads


def _upload(file: NamedFile, images: Sequence[Decoded], kind: DatasetKind) -> Upload:
    upload = Upload(text=file.text, file_label=clean_file_label(file.path[-1]))
    decoded = images[file.index] if file.index is not None else None
    refusal = file.refusal or (decoded if isinstance(decoded, errors.Invalid) else None)
    try:
        text = clean_text(kind, file.text)
    except errors.Invalid as unusable:
        refusal = refusal or unusable
    if refusal is not None or decoded is None or isinstance(decoded, errors.Invalid):
        return replace(upload, refusal=refusal)
    image, thumbnail = decoded
    return replace(upload, text=text, image=image, thumbnail=thumbnail)


def _finish(
    platform: Platform,
    work: Work,
    job: Job,
    paths: Sequence[Path],
    receipts: Sequence[Receipt],
) -> None:
    """End the job with its report, which is small enough to be stored within the transaction."""
    stored = platform.artifacts.put(json_lines(map(_row, paths, receipts)))
    outcomes = Counter(one.outcome for one in receipts)
    result = {"report": stored, **{outcome.value: outcomes[outcome] for outcome in UploadOutcome}}
    work[Jobs].finish(job.succeed(result, platform.clock()), job.fence)
    work.commit()


# The archive: its images are decoded as they come, its image lists are read.


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
        self._told: Json = {}  # columns of a table
        self._sidecars: dict[Sample, Sidecar] = {}  # the texts of images beside them

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

        def read() -> int:
            return count.unpacked_bytes if from_bucket else self._read

        def advance(at: int) -> None:
            self._monitor.advance(phase, at, order.archive_bytes)

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="decode") as pool:

            def take(path: Path, data: bytes | errors.Invalid) -> None:
                found.paths.append(path)
                while len(decoding) >= AT_ONCE:
                    found.images.append(decoding.popleft().result())
                decoding.append(pool.submit(self._decode, data))

            files = self._archives.files(order.archive_format, pieces, count)
            for file in with_shards(files, count):
                began, path = read(), file.path
                advance(began)
                if is_ignored(path):
                    continue
                if is_table(path):
                    for row, rows, image in self._rows(file, order, found, count):
                        advance(began + (read() - began) * row // rows)
                        take(*image)
                    continue
                data = self._whole(file, path)
                if is_list(path):
                    lines = self._lines(path, data, order, count)
                    found.listed = (found.listed or []) + list(lines)
                    continue
                if is_sidecar(path):
                    self._read_sidecar(path, data, order)
                    data = errors.UnsupportedImage()  # unless an image is beside it
                take(path, data)
            found.images += [future.result() for future in decoding]
        self._join_sidecars(found)
        advance(order.archive_bytes)
        if not found.paths and found.listed is None:
            raise errors.ArchiveEmpty
        return found

    def _moved(self, count: int) -> None:
        self._read += count
        self._monitor.moved(count)

    def _whole(self, file: ArchivedFile, path: Path) -> bytes | errors.Invalid:
        """Return the bytes of a file, or why it cannot be read. Raises ArchiveUnsafe."""
        data, most = bytearray(), self._platform.settings.max_file_bytes
        try:
            for piece in file.pieces:
                self._monitor.moved(len(piece))
                data += piece
                if len(data) > most:
                    break
        except errors.ObjectChanged as changed:
            return changed
        if is_archive(bytes(data[:HEAD_BYTES])):
            raise errors.ArchiveUnsafe(
                "An archive or a compressed file cannot be imported as an image.", file=shown(path)
            )
        return bytes(data) if len(data) <= most else errors.FileTooLarge()

    def _lines(
        self,
        path: Path,
        data: bytes | errors.Invalid,
        order: ImportImagesOrder,
        count: UnpackedCount,
    ) -> Iterator[ListedImage]:
        if isinstance(data, errors.FileTooLarge):
            raise errors.FileTooLarge("An image list exceeds the size limit.", file=shown(path))
        if isinstance(data, errors.Invalid):
            raise type(data)(file=shown(path))
        for line in read_image_list(path, data, self._kind, order.columns):
            count.add_file()
            yield line

    # Tables: rows that hold images with their texts, or that list images like an image list.

    def _rows(
        self, file: ArchivedFile, order: ImportImagesOrder, found: Unpacked, count: UnpackedCount
    ) -> Iterator[TableImage]:
        """Yield the images of a table, and add their texts to the lines that were found."""
        listed = found.listed = [] if found.listed is None else found.listed
        require_room(self._platform)
        try:
            with self._archives.tables.opened(self._counted(file.pieces)) as table:
                chosen = choose_columns(table.columns, order.columns, self._kind)
                self._tell(chosen.to_json())
                # What a row takes beyond its share of the file counts as unpacked.
                left = table.size
                count.expect(table.rows, max(0, chosen.bytes - left))
                for number, row in enumerate(table.read(chosen), start=1):
                    left -= len(row.image or b"")
                    count.add_bytes(max(0, -left))
                    left = max(0, left)
                    for _ in row.texts or "-":
                        count.add_file()
                    path = row_path(file.path, number, row.name, is_listed=chosen.image is None)
                    texts = row.texts if chosen.text else [""]
                    listed += [ListedImage(path=path, text=text) for text in texts]
                    if chosen.image is not None:
                        yield number, table.rows, (path, _image_of(row))
        except errors.Invalid as refusal:
            refusal.facts.setdefault("file", shown(file.path))
            raise

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._monitor.moved(len(piece))
            yield piece

    def _tell(self, columns: Json) -> None:
        """Tell which columns are read of a table, unless they are those of the last one.

        They come without the file, since events are logged and names of files never are.
        """
        if columns != self._told:
            self._told = columns
            self._monitor.emit(EventKind.COLUMNS, columns)

    # Samples: images with files beside them that hold their texts.

    def _read_sidecar(
        self, path: Path, data: bytes | errors.Invalid, order: ImportImagesOrder
    ) -> None:
        if isinstance(data, errors.Invalid):
            return
        sample, read = split_end(path)[0], read_sidecar(path, data, self._kind, order.columns)
        if read is not None and not (read.end == FIELDS and sample in self._sidecars):
            self._sidecars[sample] = read

    def _join_sidecars(self, found: Unpacked) -> None:
        """Take the files beside images out of the images, and add the texts that they hold.

        Where an image list or a table gives texts as well, these count.
        """
        images = {split_end(path)[0] for path in found.paths if not is_sidecar(path)}
        kept = [
            (path, image)
            for path, image in zip(found.paths, found.images, strict=True)
            if not (is_sidecar(path) and split_end(path)[0] in images)
        ]
        found.paths, found.images = [path for path, _ in kept], [image for _, image in kept]
        self._sidecars = {name: one for name, one in self._sidecars.items() if name in images}
        if not self._sidecars:
            return
        listed = found.listed = [] if found.listed is None else found.listed
        named = {line.path for line in listed}
        for path in found.paths:
            sidecar = self._sidecars.get(split_end(path)[0])
            if sidecar is not None and path not in named and not is_sidecar(path):
                listed += [ListedImage(path=path, text=text) for text in sidecar.texts]
        self._tell({"beside": ", ".join(sorted({one.end for one in self._sidecars.values()}))})

    def _decode(self, data: bytes | errors.Invalid) -> Decoded:
        if isinstance(data, errors.Invalid):
            return data
        try:
            return receive_image(self._keep, self._decoder, data)
        except errors.Invalid as refusal:
            return refusal


def _image_of(row: Row) -> bytes | errors.Invalid:
    if row.image is not None:
        return row.image
    return errors.FileTooLarge() if row.is_too_large else errors.FileMissing("It has no image.")


# The report: a row for each file and each entry of an image list, in the archive's order.


def file_report(platform: Platform, job: JobId) -> Digest:
    """Return the artifact of an import's report. Raises JobNotFound or FileReportNotFound."""
    with platform.transactions(read_only=True) as work:
        found = work[Jobs].get(job)
    if found.type is not JobType.IMPORT_IMAGES or found.result is None:
        raise errors.FileReportNotFound
    return Digest(found.result["report"])


def without_names(report: bytes, pixels: Collection[Digest]) -> bytes:
    """Return a stored report without the names and the texts of the files of some images."""

    def left(line: bytes) -> bytes:
        row = json.loads(line)
        if row["pixels"] not in pixels:
            return line
        return canonical_json(row | {"file": ERASED, "text": ERASED, "error": None})

    return b"".join(left(line) + b"\n" for line in report.splitlines())


def flat_rows(report: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of a stored report for a table: the error's parts are columns."""
    for line in report.splitlines():
        row = json.loads(line)
        error = row.pop("error") or {}
        yield {**row, "code": error.get("code"), "detail": error.get("detail")}


def _row(path: Path, receipt: Receipt) -> Json:
    """Return a receipt as JSON; its file with the folders, a refused text without oddities."""
    row = receipt.to_json() | {"file": shown(path)}
    return row if receipt.accepted else row | {"text": shown([receipt.text])}
