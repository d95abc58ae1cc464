"""Routes of indexes outside the service, which the client fills and an alias waits for."""

from fastapi import Response

from api.dependencies import WiredServices
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import VersionNumber
from api.indexes.schemas import Filling, IndexList, IndexView, NewIndex, index_view
from core import errors
from core.indexes import keep
from core.indexes.rows import Indexes
from core.principal import Role
from core.registry.rows import Models

router = Routes(prefix="/v1/models/{model}/indexes", tags=["indexes"], route_class=ThreadRoute)

NO_INDEX = (errors.ModelNotFound, errors.IndexNotFound)


@router.post(
    "",
    Role.OPERATOR,
    errors.ModelNotFound,
    errors.AliasNotFound,
    errors.DatasetNotFound,
    errors.NameInvalid,
    errors.NameTaken,
    status_code=201,
)
def make_index(
    model: str, body: NewIndex, services: WiredServices, response: Response
) -> IndexView:
    """Create an index that follows an alias.

    Once it has complete vectors for a version, the alias moves only to such versions.
    """
    made = index_view(keep.create_index(services.platform, model=model, **vars(body)))
    response.headers["Location"] = made.links["self"]
    return made


@router.get("", Role.VIEWER, errors.ModelNotFound)
def list_indexes(model: str, services: WiredServices) -> IndexList:
    """List the indexes of a model, by name."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        now = services.platform.clock()
        shown = [keep.show_index(work, found, one, now) for one in work[Indexes].all(found.id)]
    return IndexList(data=[index_view(one) for one in shown])


@router.get("/{index}", Role.VIEWER, *NO_INDEX)
def get_index(model: str, index: str, services: WiredServices) -> IndexView:
    """Return an index, and what it has for each version."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        made = work[Indexes].get(found.id, index)
        return index_view(keep.show_index(work, found, made, services.platform.clock()))


@router.delete("/{index}", Role.OPERATOR, *NO_INDEX, status_code=204)
def delete_index(model: str, index: str, services: WiredServices) -> None:
    """Delete an index; its alias then moves freely. The store keeps what it has."""
    keep.delete_index(services.platform, model=model, name=index)


@router.put(
    "/{index}/versions/{version}",
    Role.OPERATOR,
    *NO_INDEX,
    errors.VersionNotFound,
    errors.ArtifactGone,
    errors.IndexReportNotFound,
    errors.ArtifactMissing,
    errors.ArtifactCorrupt,
    errors.IndexNotReady,
)
def record_filling(
    model: str, index: str, version: VersionNumber, body: Filling, services: WiredServices
) -> IndexView:
    """Record how far the vectors for a version are; once complete, they stay so.

    Held and bridged vectors need a compatibility report from their baseline, by which no search
    that is judged may lose more than the index allows.
    """
    return index_view(
        keep.record_filling(
            services.platform, model=model, name=index, version=version, filled=body.filled()
        )
    )


@router.delete(
    "/{index}/versions/{version}",
    Role.OPERATOR,
    *NO_INDEX,
    errors.VersionNotFound,
    errors.IndexVersionNotFound,
    errors.InUse,
    status_code=204,
)
def clear_index_version(
    model: str, index: str, version: VersionNumber, services: WiredServices
) -> None:
    """Forget the vectors for a version, before they are deleted from the store."""
    keep.clear_version(services.platform, model=model, name=index, version=version)
