"""Delete the weights of versions that are not needed, and artifacts that no row names.

A version's feature statistics are kept and deleted with its weights.

Why no needed artifact is deleted while other processes run:

- A row names an artifact only after a `put` of it, by the same process and within `C` seconds, and
  `put` resets the age of an existing artifact. Nothing else makes a row name what no row named:
  manifests and suites repeat what datasets and manifests name. A manifest is made before the
  transaction that writes its version, which therefore locks the dataset and writes only if the
  dataset's revision is still the one that was read. Removing an image or replacing its bytes also
  locks the dataset and increases its revision. What an update makes repeats feature statistics
  that its parent's row names, and a version keeps its own while an unfinished update has it as its
  parent.
  The graphs of an architecture are put again for every version that is checked.
  An archive is stored again before its ended import is ordered again. An import names the images
  that it has stored when it ends, so `C` is at least the time that it takes.
- The rows are read at the beginning, at time r. An artifact is deleted at a time d only if no row
  named it at r or before, and if it is older than the grace G at d, which the store checks as it
  deletes it.
- If a row names it after r, then it was put after r - C, so at d it is younger than d - r + C.
  Deletion stops once d - r has reached G / 2. So it is safe while publishing takes less than
  C = G / 2: half a day with G's default, and half an hour with the smallest G allowed.
- Weights are deleted in a transaction that locks their version, as do promotion, rollback, the
  request of an evaluation or of an update of a named version, and an update that pins its parent.
  Each of them checks what the others have written. So does the deletion of a version, after which
  its weights are collected like any artifact that no row names.

Why every update that can be requested afterwards can be scored:

- Scoring runs new queries on an update's new version, its parent and its root. Roots keep their
  weights, and the parent has them or its update is refused before it trains.
- An ancestor between them needs one query: its own holdout, over its own classes. It answered that
  when it was new. The answer was stored before its verdict, and answers are never deleted, but by
  an erasure, which keeps those about the rest of the holdout. An ancestor without a verdict keeps
  its weights.
- A version is deleted only if none descends from it and it is no root, so that it is neither parent
  nor ancestor nor root of an update or evaluation that can be requested afterwards.
- An evaluation runs the same queries on its version and on that version's parent and ancestors. It
  is refused unless the first two have their weights.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.artifacts.store import ArtifactKind, Artifacts
from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.freeze import read_manifest
from core.engines.rows import EngineChecks
from core.errors import ArtifactCorrupt, ArtifactMissing, VersionNotFound
from core.indexes.rows import Indexes
from core.jobs.needs import Retention, spare_versions
from core.jobs.queue import unfinished_jobs
from core.platform import Platform
from core.principal import Principal, Role
from core.registry.alias_rows import Aliases
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, Weights
from core.trials.rows import Trials
from core.upkeep.rows import ArtifactRoots
from core.values import Digest
from core.vectors.stored import VectorParts

GRACE = timedelta(hours=24)
LEAST_GRACE = timedelta(hours=1)
_MANY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A number of artifacts and their bytes."""

    count: int = 0
    size: int = 0  # bytes

    def plus(self, size: int) -> "Amount":
        """Return the amount with one more artifact of `size` bytes."""
        return Amount(count=self.count + 1, size=self.size + size)


@dataclass(kw_only=True)
class CollectionResult:
    """The result of a collection, or on a dry run what it would have been."""

    dry_run: bool
    given_up: list[Version] = field(default_factory=list)
    kept: dict[ArtifactKind, Amount] = field(default_factory=dict)
    collected: dict[ArtifactKind, Amount] = field(default_factory=dict)
    young: Amount = field(default_factory=Amount)  # nobody names it, but it may be about to be
    temporaries: int = 0  # of dead writers
    unreadable: list[Digest] = field(default_factory=list)  # lists; then nothing was collected
    complete: bool = True  # False: the time was up; the next run goes on


def collect_garbage(
    platform: Platform,
    principal: Principal,
    *,
    grace: timedelta = GRACE,
    retention: Retention | None = None,
    dry_run: bool = False,
) -> CollectionResult:
    """Delete the artifacts that no row names and that were last put longer than `grace` ago.

    With `retention`, the weights of versions that it does not protect are deleted first. If a list
    (weights, manifest) cannot be read, the artifacts on it are unknown, so nothing is deleted.
    Raises Forbidden for anyone but an administrator, ArtifactsUnavailable or DatabaseUnavailable.
    """
    principal.require(Role.ADMIN)
    began, tidied = platform.clock(), CollectionResult(dry_run=dry_run)
    if not dry_run:
        with platform.transactions() as work:
            kept = retention.keep_last if retention else None
            order = {"older_than_hours": grace / timedelta(hours=1), "keep_last": kept}
            who = principal.name
            audit.record(work, Action.COLLECTION_STARTED, "gc", now=began, after=order, actor=who)
            work.commit()
    if not dry_run:
        with platform.transactions() as work:
            work[EngineChecks].forget(began - grace)
            work.commit()
    if retention is not None:
        tidied.given_up = list(_give_up(platform, principal, retention, began, dry_run=dry_run))
    with platform.transactions(read_only=True) as work:
        rows_name = roots_of(work[ArtifactRoots], without=tidied.given_up)
        erased = work[ArtifactRoots].erased()
    needed = expand(platform.artifacts, rows_name, erased=erased)
    if needed.unreadable:
        tidied.unreadable = needed.unreadable
        return tidied
    known = _known(platform.artifacts, tidied.given_up)
    grace_s = grace.total_seconds()
    for found in platform.artifacts.stored():
        if not dry_run and platform.clock() - began > grace / 2:
            tidied.complete = False
            break
        if (kind := needed.kinds.get(found.digest)) is not None:
            tidied.kept[kind] = tidied.kept.get(kind, Amount()).plus(found.size)
        elif found.age_s < grace_s:
            tidied.young = tidied.young.plus(found.size)
        elif dry_run or platform.artifacts.delete_if_older(found.digest, grace_s):
            kind = known.get(found.digest, ArtifactKind.UNKNOWN)
            tidied.collected[kind] = tidied.collected.get(kind, Amount()).plus(found.size)
    if not dry_run:
        tidied.temporaries = platform.artifacts.sweep(grace_s)
    return tidied


def _give_up(
    platform: Platform,
    principal: Principal,
    retention: Retention,
    now: datetime,
    *,
    dry_run: bool,
) -> Iterator[Version]:
    """One short transaction a model."""
    with platform.transactions(read_only=True) as work:
        models = work[Models].page(_MANY, None)
    for model in models:
        with platform.transactions(read_only=dry_run) as work:
            spare = _spare(work, model, retention)
            if spare and not dry_run:
                for version in spare:
                    with suppress(VersionNotFound):  # deleted meanwhile
                        work[Versions].get(model.id, version.number, lock=True)
                # Whoever needed one of them meanwhile has written so before its lock was ours.
                # What has become spare meanwhile is not locked: it waits for the next run.
                locked = {version.number for version in spare}
                spare = [v for v in _spare(work, model, retention) if v.number in locked]
                for version in spare:
                    work[Versions].release_weights(model.id, version.number, now)
                    subject = f"models/{model.name}/versions/{version.number}"
                    audit.record(
                        work, Action.WEIGHTS_DELETED, subject, now=now, actor=principal.name
                    )
                work.commit()
        yield from spare


def _spare(work: Work, model: Model, retention: Retention) -> list[Version]:
    return spare_versions(
        work[Versions].all(model.id),
        histories=[
            work[Aliases].history(model.id, alias.name) for alias in work[Aliases].all(model.id)
        ],
        unfinished=unfinished_jobs(work, model.id),
        tried={trial.candidate for trial in work[Trials].running(model.id)}
        | work[Indexes].read_by_searchers(model.id),
        retention=retention,
    )


def _known(artifacts: Artifacts, versions: Iterable[Version]) -> dict[Digest, ArtifactKind]:
    known: dict[Digest, ArtifactKind] = {}
    for version in versions:
        known |= dict.fromkeys(version.feature_statistics.values(), ArtifactKind.STATISTICS)
        known[version.digest] = ArtifactKind.WEIGHTS
        try:
            known |= tensors_of(artifacts, version.digest)
        except (ArtifactMissing, ArtifactCorrupt):
            continue  # it goes without a name
    return known


# Artifacts that rows name, directly or through the lists that they name.


@dataclass(frozen=True, kw_only=True)
class Reachable:
    """Artifacts with their kinds, and lists that could not be read: what else there is to need."""

    kinds: dict[Digest, ArtifactKind]
    unreadable: list[Digest] = field(default_factory=list)


def roots_of(
    rows: ArtifactRoots, *, without: Collection[Version] = ()
) -> dict[ArtifactKind, set[Digest]]:
    """Return the artifacts that rows name; of some versions, no weights or feature statistics."""
    return {
        ArtifactKind.IMAGE: rows.images(),  # first: see `ArtifactRoots`
        ArtifactKind.MANIFEST: rows.manifests(),
        ArtifactKind.WEIGHTS: rows.weights(without=without),
        ArtifactKind.STATISTICS: rows.feature_statistics(without=without),
        ArtifactKind.REPORT: rows.reports(),
        ArtifactKind.ANSWERS: rows.answers(),
        ArtifactKind.CHECKPOINT: rows.checkpoints(),
        ArtifactKind.EXPORT: rows.named(ArtifactKind.EXPORT),
        ArtifactKind.VECTORS: rows.named(ArtifactKind.VECTORS),
        ArtifactKind.VECTOR_PARTS: rows.vector_parts(),
        ArtifactKind.GRAPHS: rows.named(ArtifactKind.GRAPHS),
        ArtifactKind.ARCHIVE: rows.archives(),
    }


def expand(
    artifacts: Artifacts,
    rows_name: Mapping[ArtifactKind, Collection[Digest]],
    *,
    erased: Collection[Digest],
) -> Reachable:
    """Return every artifact reachable from the rows, except images that were erased.

    Raises ArtifactsUnavailable.
    """
    needed = Reachable(kinds={})
    for digest in rows_name[ArtifactKind.MANIFEST]:
        try:
            entries = read_manifest(artifacts, digest).entries
        except (ArtifactMissing, ArtifactCorrupt):
            needed.unreadable.append(digest)
            continue
        needed.kinds.update(
            dict.fromkeys(
                (entry.artifact for entry in entries if entry.artifact not in erased),
                ArtifactKind.IMAGE,
            )
        )
    for digest in rows_name[ArtifactKind.WEIGHTS]:
        try:
            needed.kinds.update(tensors_of(artifacts, digest))
        except (ArtifactMissing, ArtifactCorrupt):
            needed.unreadable.append(digest)
    for digest in rows_name[ArtifactKind.VECTOR_PARTS]:
        try:
            parts = VectorParts.from_bytes(artifacts.get(digest)).parts
        except (ArtifactMissing, ArtifactCorrupt):
            continue  # the job computes them again
        needed.kinds.update(dict.fromkeys(parts, ArtifactKind.VECTORS))
    for kind, digests in rows_name.items():
        needed.kinds.update(dict.fromkeys(digests, kind))
    return needed


def tensors_of(artifacts: Artifacts, weights: Digest) -> dict[Digest, ArtifactKind]:
    """Return the tensors of a list.

    Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
    """
    listed = Weights.from_bytes(artifacts.get(weights)).tensors
    return {tensor.digest: ArtifactKind.TENSOR for tensor in listed}
