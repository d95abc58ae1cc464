"""Route of the Prometheus metrics."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api.dependencies import WiredServices
from api.http.threadpool_route import ThreadRoute

router = APIRouter(tags=["operations"], route_class=ThreadRoute)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics(services: WiredServices) -> Response:
    """Return Prometheus metrics.

    They cover the requests of this process, and the queue, jobs, workers, versions and aliases of
    the whole service.
    """
    return Response(services.metrics.render(), media_type=CONTENT_TYPE_LATEST)
