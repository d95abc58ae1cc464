"""Route of the Prometheus metrics."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api.dependencies import CurrentPrincipal, WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from core.domain.access.roles import Role

router = APIRouter(tags=["operations"], route_class=ThreadRoute)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    openapi_extra=needs(Role.VIEWER),
)
def get_metrics(services: WiredServices, principal: CurrentPrincipal) -> Response:
    """Return Prometheus metrics.

    They cover the requests of this process, and the queue, jobs, workers, versions and aliases of
    the whole service, so a key that is limited to some models may not read them.
    """
    principal.require_every_model()
    return Response(services.metrics.render(), media_type=CONTENT_TYPE_LATEST)
