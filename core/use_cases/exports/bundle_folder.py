"""The members that make an exported folder a bundle: reports, statistics, signed statement."""

import hashlib
from pathlib import Path
from typing import Any

from core.domain.bundles.bundled_version import (
    ENVELOPE_FILE,
    predicate_of,
    report_file,
    statistics_file,
)
from core.domain.bundles.statement import Statement
from core.domain.registry.version import Model, Version
from core.domain.values import Digest, Json
from core.ports import Artifacts, Monitor, Platform, Signatures, UnitOfWork
from core.use_cases.exports.pack import PIECE
from core.use_cases.registry.lineage import ancestors
from core.use_cases.registry.model_suites import suites_of


def describe_line(work: UnitOfWork, model: Model, version: Version) -> dict[str, Any]:
    """Return the predicate of a version's bundle: its line, the suites and the policy of today."""
    line = (*ancestors(work, version), version)
    return predicate_of(
        model,
        line,
        datasets={one.number: found for one in line if (found := _dataset(work, one))},
        suites=suites_of(work, model),
        policy=work.policies.get(model.policy),
    )


def complete_bundle(
    platform: Platform, signatures: Signatures, predicate: Json, folder: Path, monitor: Monitor
) -> None:
    """Add the rest to a folder that has everything else: its files are named in the statement.

    Raises SigningKeyMissing, ArtifactMissing or ArtifactCorrupt.
    """
    for name, digest in _named(predicate).items():
        _copy(platform.artifacts, digest, folder / name, monitor)
    files = {path.name: _digest(path, monitor) for path in folder.iterdir()}
    statement = Statement(files=files, predicate=predicate)
    envelope = signatures.sign(statement.to_bytes())
    (folder / ENVELOPE_FILE).write_bytes(envelope.to_bytes())


def _named(predicate: Json) -> dict[str, Digest]:
    reports = {
        report_file(one["version"]): one["report"] for one in predicate["line"] if one["report"]
    }
    kept = predicate["feature_statistics"].values()
    return reports | {statistics_file(digest): digest for digest in kept}


def _dataset(work: UnitOfWork, version: Version) -> dict[str, Any] | None:
    if version.dataset is None or version.dataset_version is None:
        return None
    frozen = work.datasets.version(version.dataset, version.dataset_version)
    name = work.datasets.get(version.dataset).name
    return {"name": name, "version": frozen.number, "manifest": frozen.manifest}


def _copy(artifacts: Artifacts, digest: Digest, path: Path, monitor: Monitor) -> None:
    with path.open("wb") as out:
        for piece in artifacts.pieces(digest, monitor.moved):
            out.write(piece)


def _digest(path: Path, monitor: Monitor) -> Digest:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
            monitor.moved(len(piece))
    return Digest(found.hexdigest())
