"""The samples of a trial as images for its page, and the form that deletes them."""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import Services, WiredServices
from api.http.downloads import IfNoneMatch
from api.http.paths import PAGES
from api.http.required_role import needs
from api.image_answers import image_answer, thumbnail_answer
from api.pages.browser.forms import read_form
from api.pages.browser.page_route import PageRoute
from api.schemas.datasets.images import Pixels
from core.domain.access.roles import Role
from core.domain.values import Digest
from core.use_cases.trials.samples import delete_samples, sample_form

HERE = "/models/{model}/aliases/{alias}/trials/{trial}/samples"
router = APIRouter(prefix=PAGES + HERE, route_class=PageRoute, include_in_schema=False)


@router.get("/{pixels}", openapi_extra=needs(Role.VIEWER))
def get_sample(
    model: str,
    alias: str,
    trial: str,
    pixels: Pixels,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return a sample as it is stored."""
    return image_answer(services, _form(services, model, alias, trial, pixels), if_none_match)


@router.get("/{pixels}/thumbnail", openapi_extra=needs(Role.VIEWER))
async def get_thumbnail(
    model: str,
    alias: str,
    trial: str,
    pixels: Pixels,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return a small WebP of a sample."""
    artifact = await run_in_threadpool(_form, services, model, alias, trial, pixels)
    return await thumbnail_answer(services, artifact, if_none_match)


@router.post("/delete", openapi_extra=needs(Role.OPERATOR))
async def delete(
    model: str, alias: str, trial: str, request: Request, services: WiredServices
) -> Response:
    """Delete the samples of a trial."""
    await read_form(request)

    def remove() -> None:
        delete_samples(services.platform, model=model, alias=alias, trial=trial)

    await run_in_threadpool(remove)
    return RedirectResponse(f"{PAGES}/models/{model}/trial?alias={alias}", 303)


def _form(services: Services, model: str, alias: str, trial: str, pixels: str) -> Digest:
    return sample_form(
        services.platform, model=model, alias=alias, trial=trial, pixels=Digest(pixels)
    )
