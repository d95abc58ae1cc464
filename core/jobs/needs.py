"""Versions and aliases that are in use, and weights that jobs need."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.errors import InUse
from core.jobs import orders
from core.jobs.rules import Job
from core.registry.aliases import Alias, AliasMove, live_stack
from core.registry.versions import Version
from core.values import TrialId, require_unused

# Which versions' weights may be collected, and which updates can be scored without.


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The versions whose weights are kept in addition to the needed ones."""

    keep_last: int  # the newest versions of a model
    made_before: datetime  # newer versions are kept


def spare_versions(
    versions: Collection[Version],
    *,
    histories: Iterable[Sequence[AliasMove]],
    unfinished: Iterable[Job],
    tried: Collection[int] = (),
    retention: Retention,
) -> list[Version]:
    """Return the versions of one model whose weights are no longer needed, oldest first.

    Needed are roots; versions that an alias points to or could be rolled back to; versions that
    unfinished jobs start from, have made or score; those `tried` behind an alias or needed by
    an index; those that `retention` keeps; the parent of each of these, as it is their baseline;
    and ancestors of all these that were never judged: see `require_scorable`. Reports, rows and
    classes are always kept.
    """
    by_number = {version.number: version for version in versions}
    kept = {version.number for version in versions if version.is_root}
    kept.update(sorted(by_number)[-retention.keep_last :] if retention.keep_last else ())
    kept.update(v.number for v in versions if v.created_at >= retention.made_before)
    for history in histories:
        kept.update(live_stack(history))
    kept.update(tried)
    for job in unfinished:
        kept.update(versions_of(job, versions))
    kept &= by_number.keys()
    kept |= {parent for number in kept if (parent := by_number[number].parent) is not None}
    kept |= {number for number in _ancestors(kept, by_number) if by_number[number].verdict is None}
    return [
        by_number[number]
        for number in sorted(by_number.keys() - kept)
        if by_number[number].collected_at is None
    ]


def require_scorable(lineage: Sequence[Version]) -> None:
    """Raise ArtifactGone unless an update of the last version of a lineage can be scored.

    The lineage starts with its root. Root and last version must answer new queries for every
    update. Those between need only the answers from when they were judged, which are stored.
    """
    for version in lineage:
        if version in (lineage[0], lineage[-1]) or version.verdict is None:
            version.require_weights()


def _ancestors(numbers: Iterable[int], by_number: Mapping[int, Version]) -> set[int]:
    found: set[int] = set()
    for number in numbers:
        parent = by_number[number].parent
        while parent is not None and parent not in found:
            found.add(parent)
            parent = by_number[parent].parent
    return found


def versions_of(job: Job, versions: Iterable[Version]) -> set[int]:
    """Return the versions, of its model's, that a job reads or has made."""
    order = job.order
    named = {job.parent_version, job.version, *(job.beside.asked if job.beside else ())}
    if isinstance(order, orders.CandidateOrder):
        named |= {order.parent, order.replaces}
        if order.replaces is not None:
            named |= replacements(order.replaces, versions)
    if isinstance(
        order, orders.EvaluateOrder | orders.BlameOrder | orders.ExportOrder | orders.ReembedOrder
    ):
        named.add(order.version)
    if isinstance(order, orders.CompareIndexOrder):
        named |= {order.version, order.baseline}
    return {number for number in named if number is not None}


def replacements(number: int, versions: Iterable[Version]) -> set[int]:
    """Return the versions that replace a version's parent, one after another."""
    by_number = {version.number: version for version in versions}
    parent = by_number[number].parent if number in by_number else None
    found: set[int] = set()
    for version in sorted(by_number.values(), key=lambda version: version.number):
        if version.replaces is not None and version.replaces in {parent, *found}:
            found.add(version.number)
    return found


# Which versions and aliases may be deleted.


def require_version_unused(
    version: Version,
    *,
    versions: Iterable[Version],
    aliases: Iterable[Alias],
    unfinished: Iterable[Job],
    trials: Sequence[TrialId] = (),
) -> None:
    """Raise InUse unless a version can be deleted, given its model's versions, aliases and jobs.

    It can unless it is the root, which goes with its model; an alias points at it; another version
    was trained from it, which can only be scored as long as its line is whole; an unfinished job
    starts from it, scores it, has made it or may not lose what it has learned; or it is the
    candidate of `trials` that run.
    """
    if version.is_root:
        raise InUse(
            f"Version {version.number} is the root of its model: to delete it, delete the model."
        )
    versions = tuple(versions)

    def is_needed_by(job: Job) -> bool:
        lost = job.beside.lost if job.beside else ()
        return version.number in versions_of(job, versions).union(lost)

    require_unused(
        f"Version {version.number}",
        trials=trials,
        aliases=[alias.name for alias in aliases if alias.version == version.number],
        descendants=_descendants(version.number, versions),
        jobs=[job.id for job in unfinished if is_needed_by(job)],
    )


def require_alias_unused(alias: Alias, *, unfinished: Iterable[Job]) -> None:
    """Raise InUse while an unfinished job starts from an alias, moves it or compares with it."""
    require_unused(
        f"The alias {alias.name!r}",
        jobs=[
            job.id
            for job in unfinished
            if isinstance(job.order, orders.UpdateOrder | orders.EvaluateOrder)
            and job.order.alias == alias.name
        ],
    )


def _descendants(number: int, versions: Iterable[Version]) -> list[int]:
    """Return the numbers of the versions that descend from a version, in order."""
    line = {number}
    for version in sorted(versions, key=lambda version: version.number):
        if version.parent in line:
            line.add(version.number)
    return sorted(line - {number})
