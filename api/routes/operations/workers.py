"""Route of workers."""

from fastapi import APIRouter

from api.dependencies import WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.schemas.common import Page
from api.schemas.operations.workers import WorkerView
from core.domain.access.roles import Role
from core.use_cases.operations.workers import list_workers

router = APIRouter(prefix="/v1/workers", tags=["operations"], route_class=ThreadRoute)


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_workers(services: WiredServices) -> Page[WorkerView]:
    """List the workers with a heartbeat in the last day, except those that have shut down."""
    return Page(data=[WorkerView.of(state) for state in list_workers(services.platform)])
