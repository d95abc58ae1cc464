"""Rules on which versions and aliases may be deleted."""

from collections.abc import Iterable, Sequence

from core.domain.in_use import require_unused
from core.domain.jobs.job import Job
from core.domain.jobs.order import EvaluateOrder, UpdateOrder
from core.domain.registry.alias import Alias
from core.domain.registry.retention import versions_of
from core.domain.registry.version import Version
from core.domain.values import TrialId
from core.errors import InUse


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
    starts from it, scores it or has made it; or it is the candidate of `trials` that run.
    """
    if version.is_root:
        raise InUse(
            f"Version {version.number} is the root of its model: to delete it, delete the model."
        )
    versions = tuple(versions)
    require_unused(
        f"Version {version.number}",
        trials=trials,
        aliases=[alias.name for alias in aliases if alias.version == version.number],
        descendants=_descendants(version.number, versions),
        jobs=[job.id for job in unfinished if version.number in versions_of(job, versions)],
    )


def require_alias_unused(alias: Alias, *, unfinished: Iterable[Job]) -> None:
    """Raise InUse while an unfinished job starts from an alias, moves it or compares with it."""
    require_unused(
        f"The alias {alias.name!r}",
        jobs=[
            job.id
            for job in unfinished
            if isinstance(job.order, UpdateOrder | EvaluateOrder) and job.order.alias == alias.name
        ],
    )


def _descendants(number: int, versions: Iterable[Version]) -> list[int]:
    """Return the numbers of the versions that descend from a version, in order."""
    line = {number}
    for version in sorted(versions, key=lambda version: version.number):
        if version.parent in line:
            line.add(version.number)
    return sorted(line - {number})
