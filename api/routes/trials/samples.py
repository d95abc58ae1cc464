"""Routes of the samples of a trial: images about which its two versions disagree."""

from fastapi import APIRouter, Response

from api.dependencies import WiredServices
from api.http.downloads import IfNoneMatch
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.image_answers import image_answer
from api.openapi_document import raises, stored_images
from api.schemas.common import After, Limit, Page, page_of
from api.schemas.datasets.images import Pixels
from api.schemas.trials import SampleView
from core import errors
from core.domain.access.roles import Role
from core.domain.values import Digest
from core.use_cases.trials.samples import delete_samples, sample_form

router = APIRouter(
    prefix="/v1/models/{model}/aliases/{alias}/trials/{trial}/samples",
    tags=["trials"],
    route_class=ThreadRoute,
)
_UNKNOWN = (errors.ModelNotFound, errors.TrialNotFound)


@router.get("", responses=raises(*_UNKNOWN), openapi_extra=needs(Role.VIEWER))
def list_samples(
    model: str,
    alias: str,
    trial: str,
    services: WiredServices,
    limit: Limit = 50,
    after: After = None,
) -> Page[SampleView]:
    """List the samples of a trial, ordered by the digest of their pixels.

    They are images about which the two versions of a shadow disagree; by default none are kept.
    """
    last = Digest(after) if after else None
    with services.platform.transactions(read_only=True) as work:
        found = work.trials.find(work.models.get(model).id, alias, trial)
        rows = work.samples.page(found.id, limit + 1, last)
    return page_of(rows, limit, SampleView.of, lambda row: row.pixels)


@router.get(
    "/{pixels}",
    responses=stored_images(*_UNKNOWN),
    response_class=Response,
    openapi_extra=needs(Role.VIEWER),
)
def get_sample(
    model: str,
    alias: str,
    trial: str,
    pixels: Pixels,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return a sample as it is stored: decoded, without metadata, as a lossless WebP."""
    artifact = sample_form(
        services.platform, model=model, alias=alias, trial=trial, pixels=Digest(pixels)
    )
    return image_answer(services, artifact, if_none_match)


@router.delete("", status_code=204, responses=raises(*_UNKNOWN), openapi_extra=needs(Role.OPERATOR))
def remove_samples(model: str, alias: str, trial: str, services: WiredServices) -> None:
    """Delete the samples of a trial, which makes no room for others; its counts stay."""
    delete_samples(services.platform, model=model, alias=alias, trial=trial)
