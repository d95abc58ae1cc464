"""Pages of a dataset's present images, and what they are edited by."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import Services, WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.forms import read_form
from api.pages.browser.page_route import PageRoute
from api.pages.views.datasets.listing import Listing, show_listing
from core.domain.access.roles import Role
from core.domain.values import Digest, clean_class
from core.errors import FieldInvalid, PerennialError
from core.use_cases.datasets import edit_classes
from core.use_cases.datasets.stored_images import remove_images

router = APIRouter(
    prefix=f"{PAGES}/datasets/{{dataset}}", route_class=PageRoute, include_in_schema=False
)

_DIGEST = re.compile(r"[0-9a-f]{64}")

Fields = Mapping[str, str]
OfClass = Annotated[str, Query(alias="class", max_length=500)]
After = Annotated[str, Query(max_length=100)]
Count = Annotated[int, Query(ge=0, le=1000)]


@router.get("/images", openapi_extra=needs(Role.VIEWER))
def show_images(
    dataset: str,
    request: Request,
    services: WiredServices,
    of_class: OfClass = "",
    after: After = "",
    moved: Count = 0,
    removed: Count = 0,
    renamed: Count = 0,
) -> Response:
    """Show the images of a class, or all; the numbers say what was just done."""
    listing = Listing(of_class=of_class, after=after)
    done = _done(moved=moved, removed=removed, renamed=renamed)
    return show_listing(request, services, dataset, listing, done=done)


@router.get("/near-duplicates", openapi_extra=needs(Role.VIEWER))
def show_near_duplicates(
    dataset: str,
    request: Request,
    services: WiredServices,
    after: After = "",
    moved: Count = 0,
    removed: Count = 0,
) -> Response:
    """Show groups of images that look alike, side by side."""
    listing = Listing(alike=True, after=after)
    done = _done(moved=moved, removed=removed)
    return show_listing(request, services, dataset, listing, done=done)


@router.post("/moves", openapi_extra=needs(Role.CONTRIBUTOR))
async def move_chosen(dataset: str, request: Request, services: WiredServices) -> Response:
    """Move the chosen images to a class, new or not; all or none."""

    def move(fields: Fields) -> str:
        moved = edit_classes.move_images(
            services.platform, dataset, _chosen(fields), to=fields.get("to", "")
        )
        return _listing(fields).url(dataset, moved=moved)

    return await _edit(request, services, dataset, move)


@router.post("/removals", openapi_extra=needs(Role.CONTRIBUTOR))
async def remove_chosen(dataset: str, request: Request, services: WiredServices) -> Response:
    """Remove the chosen images, of which no version holds one; all or none."""

    def remove(fields: Fields) -> str:
        chosen = _chosen(fields)
        remove_images(services.platform, dataset, chosen)
        return _listing(fields).url(dataset, removed=len(chosen))

    return await _edit(request, services, dataset, remove)


@router.post("/renames", openapi_extra=needs(Role.CONTRIBUTOR))
async def rename(dataset: str, request: Request, services: WiredServices) -> Response:
    """Rename a class, or join it to another one."""

    def change(fields: Fields) -> str:
        name = fields.get("to", "")
        images = edit_classes.rename_class(
            services.platform,
            dataset,
            fields.get("class", ""),
            to=name,
            merge="merge" in fields,
        )
        return Listing(of_class=clean_class(name)).url(dataset, renamed=min(images, 1))

    return await _edit(request, services, dataset, change)


async def _edit(
    request: Request, services: Services, dataset: str, edit: Callable[[Fields], str]
) -> Response:
    """Do what a form asks for and show its page again; if it is refused, with the reason."""
    fields = await read_form(request)

    def show_refused(refusal: PerennialError) -> Response:
        chosen = [name for name in fields if _DIGEST.fullmatch(name)]
        return show_listing(
            request,
            services,
            dataset,
            _listing(fields),
            chosen=chosen,
            to=fields.get("to", ""),
            refusal=refusal,
        )

    try:
        where = await run_in_threadpool(edit, fields)
    except PerennialError as refusal:
        return await run_in_threadpool(show_refused, refusal)
    return RedirectResponse(where, 303)


def _listing(fields: Fields) -> Listing:
    return Listing(
        alike=fields.get("list") == "alike",
        of_class=fields.get("class", ""),
        after=fields.get("after", ""),
    )


def _chosen(fields: Fields) -> list[Digest]:
    found = [Digest(name) for name in fields if _DIGEST.fullmatch(name)]
    if not found:
        raise FieldInvalid("Choose at least one image.", pointer="/images")
    return found


def _done(**counts: int) -> tuple[str, int] | None:
    return next(((name, count) for name, count in counts.items() if count), None)
