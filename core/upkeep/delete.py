"""Delete aliases, versions, models, datasets and exports, and retire suites, when asked to.

`core/operations/maintenance.py` deletes what has expired.
"""

from core.audit import record as audit
from core.audit.rules import Action, given_reason
from core.database.work import Work
from core.datasets.freeze import read_manifest
from core.datasets.rows import Datasets
from core.datasets.rules import lineage_of
from core.datasets.thumbnail_rows import Thumbnails
from core.datasets.version_rows import Suites
from core.errors import DatasetVersionNotFound, SuiteNotFound
from core.exports.rows import Exports
from core.gate.rules import Verdict
from core.indexes.rows import Indexes
from core.jobs.needs import require_alias_unused, require_version_unused
from core.jobs.queue import unfinished_jobs
from core.outbox.rows import Outbox
from core.platform import Platform
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.aliases import alias_moved, delete, require_revision
from core.registry.exports import Export, ExportFormat
from core.registry.inheritance import places
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.trials.rows import Trials
from core.trials.rules import TrialEnd
from core.trials.run import end_running_trial
from core.values import require_unused


def delete_alias(
    platform: Platform,
    *,
    model: str,
    alias: str,
    expected_revision: int,
    reason: str,
) -> None:
    """Delete an alias; its history stays, and an alias of that name goes on from it.

    Raises FieldInvalid without a reason, ModelNotFound, AliasNotFound, StaleRevision, or InUse
    while an unfinished job names the alias.
    """
    now, reason = platform.clock(), given_reason(reason, "Deleting an alias")
    with platform.transactions() as work:
        found = work[Models].get(model)
        present = work[Aliases].lock(found.id, alias)
        require_revision(present, expected_revision)
        require_alias_unused(present, unfinished=unfinished_jobs(work, found.id))
        row = delete(present, reason=reason, actor=work.principal.name, now=now)
        end_running_trial(
            work,
            found,
            alias,
            TrialEnd.ALIAS_DELETED,
            actor=work.principal.name,
            now=now,
            reason=reason,
        )
        work[Aliases].remove(row)
        work[Outbox].add(alias_moved(row))
        audit.record(
            work,
            Action.ALIAS_DELETED,
            f"models/{found.name}/aliases/{alias}",
            now=now,
            before={"version": present.version},
            reason=reason,
        )
        work.commit()


def delete_version(platform: Platform, *, model: str, version: int, reason: str = "") -> Version:
    """Delete a version and return it as it was; garbage collection deletes its weights.

    One that counted, by `requires_reason`, takes a reason: FieldInvalid without. Its number is not
    given again. Images that were added to its holdout may be taught again, unless a version
    replaces it. Promotions, and orders of an update or evaluation of it, lock the
    version too, so the later of the two sees what the earlier has written. The jobs are read before
    the versions: if a job ends in between, the version that it made is seen. Raises ModelNotFound,
    VersionNotFound or InUse.
    """
    now = platform.clock()
    with platform.transactions() as work:
        work[Thumbnails].lock()  # as who adds to its holdout does
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version, lock=True)
        unfinished = list(unfinished_jobs(work, found.id))
        running = work[Trials].running(found.id)
        require_version_unused(
            wanted,
            versions=work[Versions].all(found.id),
            aliases=work[Aliases].all(found.id),
            unfinished=unfinished,
            trials=[one.id for one in running if one.candidate == wanted.number],
        )
        require_unused(
            f"Version {wanted.number}", indexes=work[Indexes].that_read(found.id, wanted.number)
        )
        if requires_reason(work, wanted):
            reason = given_reason(reason, f"Deleting version {wanted.number}, which {COUNTED},")
        place = places(work[Versions].descents(found.id))
        rest = {place[one.number] for one in work[Versions].all(found.id) if one != wanted}
        added = work[Suites].held_out(found.id).get(place[wanted.number])
        if added is not None and place[wanted.number] not in rest:
            work[Suites].retire(added, now)
        work[Versions].remove(found.id, wanted.number, now)
        audit.record(
            work,
            Action.VERSION_DELETED,
            f"models/{found.name}/versions/{wanted.number}",
            now=now,
            before={"digest": wanted.digest, "verdict": wanted.verdict and wanted.verdict.value},
            reason=reason,
        )
        work.commit()
    return wanted


COUNTED = "was live or has a failed verdict"


def requires_reason(work: Work, version: Version) -> bool:
    """Return whether a version was ever live or has a failed verdict: others may count on it."""
    verdicts = work[Verdicts].on(version.model, version.number)
    failed = any(one.verdict is Verdict.FAILED for one in verdicts)
    return failed or work[Aliases].has_moved_to(version.model, version.number)


def delete_model(platform: Platform, *, model: str, reason: str = "") -> Model:
    """Delete a model with all that belongs to it, also trials that run; return it.

    One that was taught takes a reason, as another model of its name has no verdicts to answer for:
    FieldInvalid without. Its name is free afterwards; docs/datasets.md lists what is left. Raises
    ModelNotFound, or InUse while it has an unfinished job.
    """
    with platform.transactions() as work:
        work[Thumbnails].lock()  # or images might be added to a holdout meanwhile, and stay a suite
        found = work[Models].get(model)
        work[Models].lock(found.id)
        jobs = [job.id for job in unfinished_jobs(work, found.id)]
        require_unused(f"The model {found.name!r}", jobs=jobs)
        if was_taught(work, found):
            reason = given_reason(reason, "Deleting a model that was taught")
        for added in work[Suites].held_out(found.id).values():
            work[Suites].retire(added, platform.clock())
        work[Models].remove(found.id)  # trials and exports go by the hook DELETE_WITH_MODEL
        audit.record(
            work,
            Action.MODEL_DELETED,
            f"models/{found.name}",
            now=platform.clock(),
            before={"id": found.id},
            reason=reason,
        )
        work.commit()
    return found


def was_taught(work: Work, model: Model) -> bool:
    """Return whether a model has a version beside its root."""
    return not all(one.is_root for one in work[Versions].all(model.id))


def delete_export(
    platform: Platform, *, model: str, version: int, export_format: ExportFormat
) -> Export:
    """Delete the export of a version in a format and return it as it was.

    Garbage collection deletes its file. Raises ModelNotFound, VersionNotFound or ExportNotFound.
    """
    with platform.transactions() as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
        export = work[Exports].get(found.id, wanted.number, export_format)
        work[Exports].remove(found.id, wanted.number, export_format)
        audit.record(
            work,
            Action.EXPORT_DELETED,
            f"models/{found.name}/versions/{wanted.number}/exports/{export_format}",
            now=platform.clock(),
            before={"artifact": export.artifact},
        )
        work.commit()
    return export


def retire_suite(platform: Platform, *, suite: str) -> None:
    """Retire a suite: it judges no model any more, and its images may be trained on again.

    It can still be read, as what reports say of it; its name stays taken. One that is retired
    already stays so. Raises SuiteNotFound, also for what joined a holdout, which is retired with
    its model; or InUse while it judges a model or an unfinished job needs it.
    """
    now = platform.clock()
    with platform.transactions() as work:
        found = work[Suites].newest(suite, lock=True)
        if found.model is not None:
            raise SuiteNotFound(suite=suite)
        if found.retired_at is not None:
            return
        require_unused(
            f"The suite {found.name!r}",
            models=work[Models].judged([found.id]).get(found.id, ()),
            jobs=[
                job.id
                for job in unfinished_jobs(work)
                if lineage_of(found.id) in map(lineage_of, job.suites or ())
            ],
        )
        work[Suites].retire(found, now)
        audit.record(
            work,
            Action.SUITE_RETIRED,
            f"suites/{found.name}",
            now=now,
            before={"id": found.id, "images": found.images},
        )
        work.commit()


def delete_dataset(platform: Platform, *, dataset: str) -> None:
    """Delete a dataset with its images and all versions; its name is free afterwards.

    No order or suite can confuse it with a new dataset of that name: orders name it by its id,
    suites not at all. Whoever may remove its images one by one may delete it, until a version
    holds them: that takes an admin. Raises Forbidden, DatasetNotFound, or InUse when one of its
    versions is in use.
    """
    with platform.transactions() as work:
        found = work[Datasets].get(dataset)
        if work[Datasets].lock(found.id):
            work.principal.require(Role.ADMIN)
        require_unused(f"The dataset {found.name!r}", **vars(work[Datasets].uses(found.id)))
        work[Datasets].remove(found.id)
        audit.record(
            work,
            Action.DATASET_DELETED,
            f"datasets/{found.name}",
            now=platform.clock(),
            before={"id": found.id},
        )
        work.commit()


def delete_dataset_version(platform: Platform, *, dataset: str, version: int) -> None:
    """Delete a version of a dataset; its number is not given again.

    The order of an update, and the creation of a suite, lock the version until they are committed.
    Raises DatasetNotFound, DatasetVersionNotFound, or InUse when a version of a model, a suite or
    an unfinished job needs it.
    """
    with platform.transactions() as work:
        found = work[Datasets].get(dataset)
        versions = {one.number: one for one in work[Datasets].lock(found.id)}
        if version not in versions:
            raise DatasetVersionNotFound(dataset=found.id, version=version)
        what = f"Version {version} of the dataset {found.name!r}"
        require_unused(what, **vars(work[Datasets].uses(found.id, version)))
        later = (  # read one at a time
            (one, read_manifest(platform.artifacts, one.manifest))
            for number, one in versions.items()
            if number > version
        )
        work[Datasets].remove_version(versions[version], later)
        audit.record(
            work,
            Action.DATASET_VERSION_DELETED,
            f"datasets/{found.name}/versions/{version}",
            now=platform.clock(),
            before={"manifest": versions[version].manifest},
        )
        work.commit()
