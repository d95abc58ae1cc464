"""Route of garbage collection."""

from fastapi import APIRouter

from api.dependencies import CurrentPrincipal, WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.operations.gc import CollectionView, NewCollection
from core import errors
from core.domain.access.roles import Role
from core.use_cases.storage.gc import collect_garbage

router = APIRouter(prefix="/v1/gc", tags=["operations"], route_class=ThreadRoute)


@router.post("", responses=raises(errors.ArtifactsUnavailable), openapi_extra=needs(Role.ADMIN))
def collect(
    body: NewCollection, services: WiredServices, principal: CurrentPrincipal
) -> CollectionView:
    """Delete unreferenced artifacts and, with `keep_last`, the weights of unneeded versions."""
    platform = services.platform
    tidied = collect_garbage(
        platform,
        principal,
        grace=body.grace,
        retention=body.retention(platform.clock()),
        dry_run=body.dry_run,
    )
    return CollectionView.of(tidied)
