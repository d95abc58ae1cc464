"""Pages of a dataset's present images and their edits, and of each image by its pixels."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from api.pages.questions import Question, ask
from api.pages.rendering import PageRequest
from core.database.work import Work
from core.datasets import edit as edit_classes
from core.datasets.edit import remove_images, stored_form
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind
from core.errors import FieldInvalid, PerennialError
from core.principal import Role
from core.values import Digest, clean_class, counted

router = Routes(prefix=PAGES, route_class=PageRoute, include_in_schema=False)

# A form has few fields: the images of a page must fit, each a field.
IMAGES, GROUPS, OF_GROUP = 40, 5, 8
CLASSES = 500  # to choose from

_DIGEST = re.compile(r"[0-9a-f]{64}")

Fields = Mapping[str, str]
OfClass = Annotated[str, Query(alias="class", max_length=500)]
AfterPixels = Annotated[str, Query(max_length=100)]
Count = Annotated[int, Query(ge=0, le=1000)]
Every = Annotated[bool, Query(alias="all")]


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


@dataclass(frozen=True, kw_only=True)
class Done:
    """The change of a page's images that was just made."""

    moved: int = 0
    removed: int = 0
    undone: bool = False  # by `moved`
    undo: Mapping[Digest, str] = field(default_factory=dict)  # the former classes of the moved
    was: str = ""  # the former name of the class
    joined: bool = False  # the class and another one


@router.get("/datasets/{dataset}/images", Role.VIEWER)
def show_images(
    dataset: str,
    asked: PageRequest,
    of_class: OfClass = "",
    after: AfterPixels = "",
    every: Every = False,
    removed: Count = 0,
) -> Response:
    """Show the images of a class, or all; with `all` each is chosen."""
    listing = Listing(of_class=of_class, after=after)
    return show_listing(asked, dataset, listing, every=every, done=Done(removed=removed))


@router.get("/datasets/{dataset}/near-duplicates", Role.VIEWER)
def show_near_duplicates(
    dataset: str,
    asked: PageRequest,
    after: AfterPixels = "",
    every: Every = False,
    removed: Count = 0,
) -> Response:
    """Show groups of images that look alike, side by side."""
    listing = Listing(alike=True, after=after)
    return show_listing(asked, dataset, listing, every=every, done=Done(removed=removed))


@router.post("/datasets/{dataset}/moves", Role.CONTRIBUTOR)
def move_chosen(dataset: str, asked: PageRequest, fields: SentForm) -> Response:
    """Move the chosen images to a class, new or not; all or none. Offer to move them back.

    Each image is a field: its box, or to undo a move the class that it comes from.
    """
    to, undone = fields.get("new") or fields.get("to", ""), "undo" in fields
    try:
        moves = {one: fields[one] if undone else to for one in _chosen(fields)}
        former = edit_classes.move_images(asked.platform, dataset, moves)
    except PerennialError as refusal:
        return _refused(asked, dataset, fields, refusal)
    done = Done(moved=len(former), undone=undone, undo={} if undone else former)
    return show_listing(asked, dataset, _listing(fields), done=done)


@router.post("/datasets/{dataset}/removals", Role.CONTRIBUTOR)
def remove_chosen(dataset: str, asked: PageRequest, fields: SentForm) -> Response:
    """Ask, then remove the chosen images, of which no version holds one; all or none."""
    try:
        chosen, kept, back = chosen_on_page(fields, dataset)
        if "sure" in fields:
            remove_images(asked.platform, dataset, chosen)
            return RedirectResponse(_listing(fields).url(dataset, removed=len(chosen)), 303)
    except PerennialError as refusal:
        return _refused(asked, dataset, fields, refusal)
    return ask(
        asked,
        Question(
            title=f"Remove {counted(len(chosen), 'image')}",
            lost=[
                "Nothing keeps them unless another dataset holds them: you would have to upload "
                "them again.",
                "Only images that are in no version of the dataset can be removed.",
            ],
            action=f"{PAGES}/datasets/{dataset}/removals",
            back=back,
            fields={**kept, "sure": "yes"},
        ),
    )


@router.post("/datasets/{dataset}/renames", Role.CONTRIBUTOR)
def rename(dataset: str, asked: PageRequest, fields: SentForm) -> Response:
    """Rename a class, and offer to undo it; if another has the name, ask whether to join it."""
    name, merge, was = fields.get("to", ""), "merge" in fields, fields.get("class", "")
    try:
        edit_classes.rename_class(asked.platform, dataset, was, to=name, merge=merge)
    except PerennialError as refusal:
        return _refused(asked, dataset, fields, refusal)
    done = Done(joined=merge, was="" if merge or "undo" in fields else was)
    return show_listing(asked, dataset, Listing(of_class=clean_class(name)), done=done)


def _refused(asked: PageRequest, dataset: str, fields: Fields, refusal: PerennialError) -> Response:
    """Show the page of a form again, with what was chosen and why it is refused."""
    chosen = [name for name in fields if _DIGEST.fullmatch(name)]
    to = fields.get("new") or fields.get("to", "")
    return show_listing(asked, dataset, _listing(fields), chosen=chosen, to=to, refusal=refusal)


def _kept(fields: Fields) -> set[str]:
    """Return the fields that name images, or the page that they are on."""
    return {name for name in fields if _DIGEST.fullmatch(name)} | {"list", "class", "after"}


def chosen_on_page(fields: Fields, dataset: str) -> tuple[list[Digest], Fields, str]:
    """Return the images chosen in a form, the fields to send again, and their page's address."""
    kept = {name: text for name, text in fields.items() if name in _kept(fields)}
    return _chosen(fields), kept, _listing(fields).url(dataset)


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


def show_listing(
    asked: PageRequest,
    dataset: str,
    listing: Listing,
    *,
    chosen: Collection[str] = (),
    every: bool = False,
    to: str = "",
    done: Done | None = None,
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
        every=every,
        to=to,
        done=done or Done(),
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
