"""Read a bundle from beginning to end, and believe nothing that was not signed.

The envelope comes first, so that no byte behind it is read before its signature is valid. Each file
must be one that the statement names, once, with the digest that it names. No file is written by its
name, or at all: tensors and feature statistics go to `keep`, documents are held in memory.
"""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from core.archives.reader import ArchiveReader
from core.archives.rules import ArchivedFile, ArchiveFormat, UnpackedCount, shown
from core.archives.streams import Stream
from core.artifacts.store import Artifacts
from core.bundles.rules import (
    ENVELOPE_FILE,
    LENGTH_BYTES,
    BundledVersion,
    Envelope,
    Signer,
    Statement,
    header_length,
    read_header,
    report_file,
    statistics_file,
)
from core.bundles.signing import Signatures
from core.errors import ArchiveCorrupt, BundleInvalid, OriginNotFound
from core.registry.architecture import MOST_TOKENIZER_BYTES, TOKENIZER, TOKENIZER_FILE
from core.registry.versions import TensorEntry, Version, Weights
from core.settings import Settings
from core.values import Digest, Json

CONFIG_FILE, WEIGHTS_FILE = "open_clip_config.json", "open_clip_model.safetensors"
MOST_ENVELOPE_BYTES = 16 * 1024**2
MOST_DOCUMENT_BYTES = 64 * 1024**2  # of all documents together
MOST_STATISTICS_BYTES = 256 * 1024**2  # of one class

Keep = Callable[[bytes], Digest]


@dataclass(frozen=True, kw_only=True)
class SignedBundle:
    """A signed statement and its signers."""

    signer: Signer
    statement: Statement
    version: BundledVersion

    def require_digest(self, expected: str | None) -> None:
        """Raise BundleInvalid if the version has another digest than the expected one."""
        if expected is not None and expected.removeprefix("sha256:") != self.version.digest:
            raise BundleInvalid(
                "The bundle holds another version than the expected one.",
                digest=self.version.digest,
                expected=expected[:80],
            )


@dataclass(frozen=True, kw_only=True)
class ReadBundle:
    """A bundle whose every byte is as it was signed."""

    signed: SignedBundle
    weights: Weights  # of the digest that was signed
    reports: Mapping[int, Json]  # by version there


def has_first_file(data: bytes) -> bool:
    """Return whether the first bytes of a tar hold its first file, or already show that it is none.

    The size of a file is at bytes 124 to 135 of its header, in octal (POSIX.1-1988, ustar).
    """
    if len(data) < tarfile.BLOCKSIZE:
        return False
    try:
        size = int(data[124:136].rstrip(b" \0"), 8)
    except ValueError:
        return True
    return len(data) >= tarfile.BLOCKSIZE + min(size, MOST_ENVELOPE_BYTES + 1)


def read_signed(
    archives: ArchiveReader,
    signatures: Signatures,
    settings: Settings,
    pieces: Iterator[bytes],
    size: int,
) -> SignedBundle:
    """Return what the first file of a bundle says, reading no further.

    Raises BundleInvalid, BundleNotTrusted, or what the reader of archives raises.
    """
    return _signed(_files(archives, settings, pieces, size), signatures)


def read_bundle(
    archives: ArchiveReader,
    signatures: Signatures,
    settings: Settings,
    pieces: Iterator[bytes],
    size: int,
    keep: Keep,
) -> ReadBundle:
    """Return a bundle of `size` bytes once all of it was read. Raises what `read_signed` raises."""
    files = _files(archives, settings, pieces, size)
    signed = _signed(files, signatures)
    reading = _Reading(signed, keep)
    for file in files:
        reading.read(file)
    return reading.end()


def _files(
    archives: ArchiveReader, settings: Settings, pieces: Iterator[bytes], size: int
) -> Iterator[ArchivedFile]:
    count = UnpackedCount(
        archive_bytes=size,
        most_bytes=settings.max_unpacked_bytes,
        most_files=settings.max_import_files,
    )
    return archives.files(ArchiveFormat.TAR, pieces, count)


def _signed(files: Iterator[ArchivedFile], signatures: Signatures) -> SignedBundle:
    try:
        first = next(files, None)
    except ArchiveCorrupt as error:
        raise BundleInvalid("A bundle is a tar file.") from error
    if first is None or _name(first) != ENVELOPE_FILE:
        raise BundleInvalid(f"The first file of a bundle is {ENVELOPE_FILE}.")
    envelope = Envelope.from_bytes(_whole(first.pieces, MOST_ENVELOPE_BYTES))
    signer = signatures.signer_of(envelope)
    statement = Statement.from_bytes(envelope.payload)
    version = BundledVersion.of(statement.predicate)
    return SignedBundle(signer=signer, statement=statement, version=version)


class _Reading:
    """The files of a bundle, one after another."""

    def __init__(self, signed: SignedBundle, keep: Keep) -> None:
        self._signed = signed
        self._keep = keep
        self._missing = dict(signed.statement.files)
        self._documents: dict[str, bytes] = {}
        self._room = MOST_DOCUMENT_BYTES
        self._tensors: tuple[TensorEntry, ...] = ()

    def read(self, file: ArchivedFile) -> None:
        """Read a file. Raises BundleInvalid unless it is the one that was signed."""
        name = _name(file)
        wanted = self._missing.pop(name, None)
        if wanted is None:
            raise BundleInvalid(
                "The bundle holds a file that was not signed, or holds it twice.",
                file=shown(file.path),
            )
        hashed = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            for piece in file.pieces:
                hashed.update(piece)
                yield piece

        self._take(name, pieces())
        if hashed.hexdigest() != wanted:
            raise BundleInvalid("A file of the bundle is not the one that was signed.", file=name)

    def end(self) -> ReadBundle:
        """Return the whole. Raises BundleInvalid if it lacks a file or is of another version."""
        if self._missing:
            raise BundleInvalid("The bundle lacks a file that was signed.", file=min(self._missing))
        version, files = self._signed.version, self._signed.statement.files
        named = {report_file(number): digest for number, digest in version.reports.items()}
        named |= {statistics_file(one): one for one in version.feature_statistics.values()}
        for name, digest in named.items():
            if files.get(name) != digest:
                raise BundleInvalid("The bundle lacks what its version refers to.", file=name)
        weights = Weights(config=self._json(CONFIG_FILE), tensors=self._tensors)
        if weights.digest != version.digest:
            raise BundleInvalid(
                "The weights are not those of the version that the bundle names.",
                digest=version.digest,
                found=weights.digest,
            )
        reports = {number: self._json(report_file(number)) for number in version.reports}
        return ReadBundle(signed=self._signed, weights=weights, reports=reports)

    def _take(self, name: str, pieces: Iterator[bytes]) -> None:
        if name == WEIGHTS_FILE:
            self._tensors += tuple(_tensors(pieces, self._keep))
        elif name == TOKENIZER_FILE:
            data = _whole(pieces, MOST_TOKENIZER_BYTES)
            entry = TensorEntry(
                name=TOKENIZER,
                dtype="U8",
                shape=(len(data),),
                digest=self._keep(data),
                size=len(data),
            )
            self._tensors += (entry,)
        elif name.startswith("statistics-"):
            self._keep(_whole(pieces, MOST_STATISTICS_BYTES))
        else:
            data = _whole(pieces, self._room)
            self._room -= len(data)
            self._documents[name] = data

    def _json(self, name: str) -> Json:
        try:
            found = json.loads(self._documents[name])
        except (KeyError, ValueError, RecursionError) as error:
            raise BundleInvalid("A document of the bundle cannot be read.", file=name) from error
        if not isinstance(found, dict):
            raise BundleInvalid("A document of the bundle is no JSON object.", file=name)
        return found


def _name(file: ArchivedFile) -> str:
    """Return the name of a file in the one folder of a bundle. Raises BundleInvalid."""
    if len(file.path) != 2:
        raise BundleInvalid("A bundle is a tar of one folder.", file=shown(file.path))
    return file.path[1]


def _whole(pieces: Iterator[bytes], most: int) -> bytes:
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) > most:
            raise BundleInvalid(f"A file of the bundle has more than {most:,} bytes.")
    return bytes(data)


def _tensors(pieces: Iterator[bytes], keep: Keep) -> Iterator[TensorEntry]:
    """Yield the tensors of a safetensors file, each kept; one at a time is in memory."""
    source = Stream(pieces, BundleInvalid("The weights end too early."))
    header = source.read(header_length(source.read(LENGTH_BYTES)))
    for slot in read_header(header):
        data = source.read(slot.size)
        yield TensorEntry(
            name=slot.name, dtype=slot.dtype, shape=slot.shape, digest=keep(data), size=slot.size
        )
    if source.rest or any(pieces):
        raise BundleInvalid("Something follows the weights in their file.")


def read_origin(artifacts: Artifacts, version: Version) -> Json:
    """Return the line, suites, policy and reports of a version where it was trained.

    Raises OriginNotFound, ArtifactMissing or ArtifactCorrupt.
    """
    if version.origin is None:
        raise OriginNotFound(version=version.number)
    found: Json = json.loads(artifacts.get(version.origin.record))
    return found
