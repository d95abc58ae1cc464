"""Delete a dataset or one of its versions."""

from core.domain.access.audit import Action
from core.domain.in_use import require_unused
from core.errors import DatasetVersionNotFound
from core.ports import Platform
from core.use_cases.access import audit
from core.use_cases.datasets.manifests import read_manifest


def delete_dataset(platform: Platform, *, dataset: str) -> None:
    """Delete a dataset with its images and all versions; its name is free afterwards.

    No order or suite can confuse it with a new dataset of that name: orders name it by its id,
    suites not at all. Raises DatasetNotFound, or InUse when one of its versions is in use.
    """
    with platform.transactions() as work:
        found = work.datasets.get(dataset)
        work.datasets.lock(found.id)
        require_unused(f"The dataset {found.name!r}", **vars(work.datasets.uses(found.id)))
        work.datasets.remove(found.id)
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
        found = work.datasets.get(dataset)
        versions = {one.number: one for one in work.datasets.lock(found.id)}
        if version not in versions:
            raise DatasetVersionNotFound(dataset=found.id, version=version)
        what = f"Version {version} of the dataset {found.name!r}"
        require_unused(what, **vars(work.datasets.uses(found.id, version)))
        later = (  # read one at a time
            (one, read_manifest(platform.artifacts, one.manifest))
            for number, one in versions.items()
            if number > version
        )
        work.datasets.remove_version(versions[version], later)
        audit.record(
            work,
            Action.DATASET_VERSION_DELETED,
            f"datasets/{found.name}/versions/{version}",
            now=platform.clock(),
            before={"manifest": versions[version].manifest},
        )
        work.commit()
