"""Delete stored vectors."""

from core.domain.access.audit import Action
from core.domain.datasets.dataset import DatasetRef
from core.domain.registry.version import Model
from core.domain.vectors.stored_vectors import StoredVectors
from core.ports import Platform, UnitOfWork
from core.use_cases.access import audit


def find_vectors(
    work: UnitOfWork, model: str, version: int, dataset: str, dataset_version: int
) -> tuple[Model, StoredVectors]:
    """Return a model, and the vectors of a dataset version by one of its versions.

    Raises ModelNotFound, VersionNotFound, DatasetNotFound or VectorsNotFound.
    """
    found = work.models.get(model)
    number = work.versions.get(found.id, version).number
    ref = DatasetRef(dataset=work.datasets.get(dataset).id, version=dataset_version)
    return found, work.vectors.get(found.id, number, ref)


def delete_vectors(
    platform: Platform, *, model: str, version: int, dataset: str, dataset_version: int
) -> None:
    """Delete the vectors of a dataset version; garbage collection deletes their files.

    Raises what `find_vectors` raises.
    """
    with platform.transactions() as work:
        found, stored = find_vectors(work, model, version, dataset, dataset_version)
        ref = DatasetRef(dataset=stored.dataset, version=stored.dataset_version)
        work.vectors.remove(found.id, stored.version, ref)
        name = work.datasets.get(stored.dataset).name
        audit.record(
            work,
            Action.VECTORS_DELETED,
            f"models/{found.name}/versions/{version}/vectors/{name}/{dataset_version}",
            now=platform.clock(),
            before={"artifact": stored.artifact},
        )
        work.commit()
