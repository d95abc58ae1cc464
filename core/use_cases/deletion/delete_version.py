"""Delete a version of a model."""

from core.domain.access.audit import Action
from core.domain.registry.deletion import require_version_unused
from core.domain.registry.version import Version
from core.ports import Platform
from core.use_cases.access import audit
from core.use_cases.jobs.unfinished import unfinished_jobs


def delete_version(platform: Platform, *, model: str, version: int) -> Version:
    """Delete a version and return it as it was; garbage collection deletes its weights.

    Its number is not given again. Promotions, and orders of an update or evaluation of it, lock the
    version too, so the later of the two sees what the earlier has written. The jobs are read before
    the versions: if a job ends in between, the version that it made is seen. Raises ModelNotFound,
    VersionNotFound or InUse.
    """
    now = platform.clock()
    with platform.transactions() as work:
        found = work.models.get(model)
        wanted = work.versions.get(found.id, version, lock=True)
        unfinished = list(unfinished_jobs(work, found.id))
        running = work.trials.running(found.id)
        require_version_unused(
            wanted,
            versions=work.versions.all(found.id),
            aliases=work.aliases.all(found.id),
            unfinished=unfinished,
            trials=[one.id for one in running if one.candidate == wanted.number],
        )
        work.versions.remove(found.id, wanted.number, now)
        audit.record(
            work,
            Action.VERSION_DELETED,
            f"models/{found.name}/versions/{wanted.number}",
            now=now,
            before={"digest": wanted.digest, "verdict": wanted.verdict and wanted.verdict.value},
        )
        work.commit()
    return wanted
