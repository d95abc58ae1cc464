"""The members that make an exported folder a bundle: reports, statistics, signed statement."""

import io
import tarfile
from pathlib import Path
from typing import Any, Protocol

from core.artifacts.checks import file_pieces, hash_pieces
from core.artifacts.store import Artifacts, ArtifactWriter, BytesCallback
from core.bundles.rules import ENVELOPE_FILE, Statement, predicate_of, report_file, statistics_file
from core.bundles.signing import Signatures
from core.database.work import Work
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetRef
from core.datasets.version_rows import Suites
from core.evaluation.fitting import validated_by
from core.gate.rows import Policies
from core.jobs.rules import Monitor
from core.platform import Platform
from core.registry.read import ancestors, suites_of
from core.registry.versions import Model, Version
from core.values import Digest, Json


def describe_line(work: Work, model: Model, version: Version) -> dict[str, Any]:
    """Return the predicate of a version's bundle: its line, the suites and the policy of today."""
    line = (*ancestors(work, version), version)
    return predicate_of(
        model,
        line,
        images={one.number: _images(work, one) for one in line},
        suites=suites_of(work, model),
        policy=work[Policies].get(model.policy),
    )


def complete_bundle(
    platform: Platform, signatures: Signatures, predicate: Json, folder: Path, monitor: Monitor
) -> None:
    """Add the rest to a folder that has everything else: its files are named in the statement.

    Raises SigningKeyMissing, ArtifactMissing or ArtifactCorrupt.
    """
    for name, digest in _named(predicate).items():
        _copy(platform.artifacts, digest, folder / name, monitor)
    files = {path.name: hash_pieces(file_pieces(path), monitor.moved) for path in folder.iterdir()}
    statement = Statement(files=files, predicate=predicate)
    envelope = signatures.sign(statement.to_bytes())
    (folder / ENVELOPE_FILE).write_bytes(envelope.to_bytes())


def _named(predicate: Json) -> dict[str, Digest]:
    reports = {
        report_file(one["version"]): one["report"] for one in predicate["line"] if one["report"]
    }
    kept = predicate["feature_statistics"].values()
    return reports | {statistics_file(digest): digest for digest in kept}


def _images(work: Work, version: Version) -> dict[str, Any]:
    """Return the images that a version learned from, as an erasure looks for them.

    `validation` are the manifests by whose validation parts its mixing weight was chosen.
    """
    taught = _dataset(work, version.data)
    validating = validated_by(work, version) if taught else ()
    return {
        "dataset": taught,
        "captions": _dataset(work, version.captions),
        "reference": _dataset(work, version.reference),
        "validation": [
            work[Datasets].version(one.dataset, one.version).manifest
            if isinstance(one, DatasetRef)
            else work[Suites].get(one).manifest
            for one in validating
        ],
    }


def _dataset(work: Work, named: DatasetRef | None) -> dict[str, Any] | None:
    if named is None:
        return None
    frozen = work[Datasets].version(named.dataset, named.version)
    name = work[Datasets].get(named.dataset).name
    return {"name": name, "version": frozen.number, "manifest": frozen.manifest}


def _copy(artifacts: Artifacts, digest: Digest, path: Path, monitor: Monitor) -> None:
    with path.open("wb") as out:
        for piece in artifacts.pieces(digest, monitor.moved):
            out.write(piece)


# Folders as tar files that are the same whenever the files are.

PIECE = 1 << 20  # bytes


class Readable(Protocol):
    """A file that is read from its beginning."""

    def read(self, size: int = -1, /) -> bytes: ...


def store_tar(
    artifacts: Artifacts, folder: Path, name: str, moved: BytesCallback
) -> tuple[Digest, int]:
    """Store a tar of the folder's files below `name`; return its digest and size in bytes.

    Files come in the order of their names, without times and owners. Raises StorageFull, or
    ArtifactsUnavailable.
    """
    with artifacts.writer() as writer:
        out = _Pieces(writer, moved)
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=PIECE) as tar:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                inside = path.relative_to(folder).as_posix()
                with path.open("rb") as file:
                    add_file(tar, f"{name}/{inside}", file, path.stat().st_size)
        return writer.commit(moved), out.size


def add_file(tar: tarfile.TarFile, name: str, source: Readable, size: int) -> None:
    """Add a file of so many bytes to a tar, without times and owners."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o644
    tar.addfile(entry, source)


class _Pieces(io.RawIOBase):
    """A file whose bytes go to an artifact's writer."""

    def __init__(self, writer: ArtifactWriter, moved: BytesCallback) -> None:
        super().__init__()
        self.size = 0
        self._writer = writer
        self._moved = moved

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        piece = bytes(data)
        self._writer.write(piece)
        self.size += len(piece)
        self._moved(len(piece))
        return len(piece)
