"""Pages of a dataset's present images and their edits, and of each image by its pixels."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.datasets.schemas import ImageView, Pixels, image_views
from api.dependencies import WiredServices
from api.http.answers import IfNoneMatch, image_answer, thumbnail_answer
from api.http.routing import PAGES, Routes
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm
from api.pages.rendering import PageRequest
from core.database.work import Work
from core.datasets import edit as edit_classes
from core.datasets.edit import remove_images, stored_form
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind
from core.errors import FieldInvalid, PerennialError
from core.principal import Role
from core.values import Digest, clean_class

router = Routes(prefix=PAGES, route_class=PageRoute, include_in_schema=False)

# A form has few fields: the images of a page must fit, each a field.
IMAGES, GROUPS, OF_GROUP = 40, 5, 8
CLASSES = 500  # to choose from

_DIGEST = re.compile(r"[0-9a-f]{64}")

Fields = Mapping[str, str]
OfClass = Annotated[str, Query(alias="class", max_length=500)]
AfterPixels = Annotated[str, Query(max_length=100)]
Count = Annotated[int, Query(ge=0, le=1000)]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A page of a class's images, of all, or of groups of near-duplicates."""

    alike: bool = False  # groups of near-duplicates
    of_class: str = ""
    after: str = ""

    def url(self, dataset: str, **more: object) -> str:
        """Return the URL of the page."""
        last = "near-duplicates" if self.alike else "images"
        query = {"class": self.of_class, "after": self.after, **more}
        given = urlencode({name: value for name, value in query.items() if value})
        return f"{PAGES}/datasets/{dataset}/{last}{'?' if given else ''}{given}"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images that are shown together."""

    images: Sequence[ImageView]
    count: int  # with those that are not shown

    @property
    def differs(self) -> bool:
        """True if its images have different classes."""
        return len({image.texts[0] for image in self.images}) > 1


@router.get("/datasets/{dataset}/images", Role.VIEWER)
def show_images(
    dataset: str,
    asked: PageRequest,
    of_class: OfClass = "",
    after: AfterPixels = "",
    moved: Count = 0,
    removed: Count = 0,
    renamed: Count = 0,
) -> Response:
    """Show the images of a class, or all; the numbers say what was just done."""
    listing = Listing(of_class=of_class, after=after)
    done = _done(moved=moved, removed=removed, renamed=renamed)
    return show_listing(asked, dataset, listing, done=done)


@router.get("/datasets/{dataset}/near-duplicates", Role.VIEWER)
def show_near_duplicates(
    dataset: str, asked: PageRequest, after: AfterPixels = "", moved: Count = 0, removed: Count = 0
) -> Response:
    """Show groups of images that look alike, side by side."""
    listing = Listing(alike=True, after=after)
    done = _done(moved=moved, removed=removed)
    return show_listing(asked, dataset, listing, done=done)


@router.post("/datasets/{dataset}/moves", Role.CONTRIBUTOR)
def move_chosen(dataset: str, asked: PageRequest, fields: SentForm) -> Response:
    """Move the chosen images to a class, new or not; all or none."""

    def move() -> str:
        moved = edit_classes.move_images(
            asked.platform, dataset, _chosen(fields), to=fields.get("to", "")
        )
        return _listing(fields).url(dataset, moved=moved)

    return _edit(asked, dataset, fields, move)


@router.post("/datasets/{dataset}/removals", Role.CONTRIBUTOR)
def remove_chosen(dataset: str, asked: PageRequest, fields: SentForm) -> Response:
    """Remove the chosen images, of which no version holds one; all or none."""

    def remove() -> str:
        chosen = _chosen(fields)
        remove_images(asked.platform, dataset, chosen)
        return _listing(fields).url(dataset, removed=len(chosen))

    return _edit(asked, dataset, fields, remove)


@router.post("/datasets/{dataset}/renames", Role.CONTRIBUTOR)
def rename(dataset: str, asked: PageRequest, fields: SentForm) -> Response:
    """Rename a class, or join it to another one."""

    def change() -> str:
        name = fields.get("to", "")
        images = edit_classes.rename_class(
            asked.platform,
            dataset,
            fields.get("class", ""),
            to=name,
            merge="merge" in fields,
        )
        return Listing(of_class=clean_class(name)).url(dataset, renamed=min(images, 1))

    return _edit(asked, dataset, fields, change)


def _edit(asked: PageRequest, dataset: str, fields: Fields, edit: Callable[[], str]) -> Response:
    """Do what a form asks for and show its page again; if it is refused, with the reason."""
    try:
        where = edit()
    except PerennialError as refusal:
        return show_listing(
            asked,
            dataset,
            _listing(fields),
            chosen=[name for name in fields if _DIGEST.fullmatch(name)],
            to=fields.get("to", ""),
            refusal=refusal,
        )
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


def show_listing(
    asked: PageRequest,
    dataset: str,
    listing: Listing,
    *,
    chosen: Collection[str] = (),
    to: str = "",
    done: tuple[str, int] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    """Return a page of images; after a refusal, with those that were chosen and why not."""
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        counts = work[Datasets].count(found.id)
        groups, following = _groups(work, found.id, listing)
    return asked.page(
        "datasets/images.html",
        dataset=found,
        labelled=found.kind is DatasetKind.LABELLED,
        listing=listing,
        classes=list(islice(counts, CLASSES)),
        counts=counts,
        total=counts.get(listing.of_class, 0) if listing.of_class else sum(counts.values()),
        groups=groups,
        more=replace(listing, after=following).url(found.name) if following else None,
        chosen=chosen,
        to=to,
        done=done,
        refusal=refusal,
    )


def _groups(work: Work, dataset: Any, listing: Listing) -> tuple[list[Group], str | None]:
    """Return the groups of a page, and what the next page comes after."""
    after = Digest(listing.after) if listing.after else None
    if listing.alike:
        alike = work[Datasets].near_duplicate_page(dataset, GROUPS + 1, after)
        groups = [
            Group(images=image_views(work, group.rows)[:OF_GROUP], count=group.count)
            for group in alike[:GROUPS]
        ]
        return groups, alike[GROUPS - 1].group if len(alike) > GROUPS else None
    rows = work[Datasets].image_page(dataset, IMAGES + 1, after, text=listing.of_class or None)
    images = image_views(work, rows)
    group = Group(images=images[:IMAGES], count=len(images))
    return [group] if images else [], images[IMAGES - 1].pixels if len(images) > IMAGES else None


# Images of any dataset, for pages that name them by their pixels.


@router.get("/images/{pixels}", Role.VIEWER)
def get_image(
    pixels: Pixels, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return an image as it is stored."""
    artifact = stored_form(services.platform, Digest(pixels))
    return image_answer(services, artifact, if_none_match)


@router.get("/images/{pixels}/thumbnail", Role.VIEWER)
async def get_thumbnail(
    pixels: Pixels, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return a small WebP of an image."""
    artifact = await run_in_threadpool(stored_form, services.platform, Digest(pixels))
    return await thumbnail_answer(services, artifact, if_none_match)
