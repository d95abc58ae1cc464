"""Routes of liveness and readiness, the only ones that need no key."""

from fastapi import APIRouter

from api.dependencies import WiredServices
from api.http.routing import ThreadRoute
from api.http.schemas import ResponseModel
from api.openapi_document import raises
from core.errors import NotReady
from core.operations.maintenance import check_readiness

router = APIRouter(tags=["health"], route_class=ThreadRoute)


class Health(ResponseModel):
    """The state of the process."""

    status: str = "ok"


class Readiness(Health):
    """The state of the service, with the result of each check."""

    checks: dict[str, bool]


@router.get("/healthz")
async def get_health() -> Health:
    """Report that the process runs; nothing else is checked."""
    return Health()


@router.get("/readyz", responses=raises(NotReady))
def get_readiness(services: WiredServices) -> Readiness:
    """Check that the database answers, the disk has room and a worker is alive."""
    return Readiness(checks=check_readiness(services.platform))
