"""Images of any dataset, for pages that name them by their pixels."""

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dependencies import WiredServices
from api.http.downloads import IfNoneMatch
from api.http.paths import PAGES
from api.http.required_role import needs
from api.image_answers import image_answer, thumbnail_answer
from api.pages.browser.page_route import PageRoute
from api.schemas.datasets.images import Pixels
from core.domain.access.roles import Role
from core.domain.values import Digest
from core.use_cases.datasets.stored_images import stored_form_anywhere

router = APIRouter(
    prefix=f"{PAGES}/images/{{pixels}}", route_class=PageRoute, include_in_schema=False
)


@router.get("", openapi_extra=needs(Role.VIEWER))
def get_image(
    pixels: Pixels, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return an image as it is stored."""
    artifact = stored_form_anywhere(services.platform, Digest(pixels))
    return image_answer(services, artifact, if_none_match)


@router.get("/thumbnail", openapi_extra=needs(Role.VIEWER))
async def get_thumbnail(
    pixels: Pixels, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return a small WebP of an image."""
    artifact = await run_in_threadpool(stored_form_anywhere, services.platform, Digest(pixels))
    return await thumbnail_answer(services, artifact, if_none_match)
