"""Routes of workers, metrics, garbage collection and health."""

from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

from api.dependencies import CurrentPrincipal, WiredServices
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import Page, ResponseModel
from api.operations.schemas import CollectionView, NewCollection, WorkerView, worker_view
from core import errors
from core.fleet.workers import list_workers
from core.operations.maintenance import check_readiness
from core.principal import Role
from core.upkeep.gc import collect_garbage

router = Routes(tags=["operations"], route_class=ThreadRoute)


@router.get("/v1/workers", Role.VIEWER)
def show_workers(services: WiredServices) -> Page[WorkerView]:
    """List the workers with a heartbeat in the last day, except those that have shut down."""
    return Page(data=[worker_view(state) for state in list_workers(services.platform)])


@router.post("/v1/gc", Role.ADMIN, errors.ArtifactsUnavailable)
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


@router.get(
    "/metrics",
    Role.VIEWER,
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics(services: WiredServices, principal: CurrentPrincipal) -> Response:
    """Return Prometheus metrics.

    They cover the requests of this process, and the queue, jobs, workers, versions and aliases of
    the whole service, so a key that is limited to some models may not read them.
    """
    principal.require_every_model()
    return Response(services.metrics.render(), media_type=CONTENT_TYPE_LATEST)


# Liveness and readiness, the only routes that need no key.

health = Routes(tags=["health"], route_class=ThreadRoute)


class Health(ResponseModel):
    """The state of the process."""

    status: str = "ok"


class Readiness(Health):
    """The state of the service, with the result of each check."""

    checks: dict[str, bool]
    trains_on: list[str] = Field(
        examples=[["cuda:0 (NVIDIA L4), 8 threads; 1 GPU found"]],
        description="What the live workers train on; empty until one has loaded torch.",
    )


@health.get("/healthz")
async def get_health() -> Health:
    """Report that the process runs; nothing else is checked."""
    return Health()


@health.get("/readyz", None, errors.NotReady)
def get_readiness(services: WiredServices) -> Readiness:
    """Check that the database answers, the disk has room and a worker is alive."""
    return Readiness.model_validate(vars(check_readiness(services.platform)))
