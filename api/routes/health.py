"""Is it alive, can it work; the only pages that need no key."""

from fastapi import APIRouter

from api.dependencies import Wired
from api.http.thread_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.common import ResponseModel
from core.errors import NotReady
from core.use_cases.operations.readiness import check_readiness

router = APIRouter(tags=["health"], route_class=ThreadRoute)


class Health(ResponseModel):
    """The process answers."""

    status: str = "ok"


class Readiness(Health):
    """Everything an order needs is there."""

    checks: dict[str, bool]


@router.get("/healthz")
async def get_health() -> Health:
    """The process answers; says nothing about the rest."""
    return Health()


@router.get("/readyz", responses=raises(NotReady))
def get_readiness(services: Wired) -> Readiness:
    """The database answers, the disk has room, a worker lives."""
    return Readiness(checks=check_readiness(services.platform))
