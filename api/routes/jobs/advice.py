"""Route of advice on an update."""

from anyio.to_thread import run_sync
from fastapi import APIRouter

from api.dependencies import Services, WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.routes.jobs.jobs import REFUSALS
from api.schemas.jobs.advice import AdviceView
from api.schemas.jobs.orders import NewUpdate
from core import errors
from core.domain.access.roles import Role
from core.use_cases.training.advise import advise

router = APIRouter(prefix="/v1/jobs/advice", tags=["jobs"], route_class=ThreadRoute)


@router.post(
    "", responses=raises(errors.ModelNotFound, *REFUSALS), openapi_extra=needs(Role.CONTRIBUTOR)
)
async def advise_update(body: NewUpdate, services: WiredServices) -> AdviceView:
    """Advise on an update before it is ordered: a dry run, which queues and writes nothing.

    The body is that of the order, and an order that could not start is refused with the same
    error. The parent classifies a sample of the images, at most 20 of a class; if inference is not
    available, the advice has everything else.
    """
    return await run_sync(_advise, services, body, limiter=services.advising)


def _advise(services: Services, body: NewUpdate) -> AdviceView:
    advice = advise(
        services.platform,
        services.inference,
        services.decoder,
        model=body.model,
        order=body.order(),
    )
    return AdviceView.of(advice)
