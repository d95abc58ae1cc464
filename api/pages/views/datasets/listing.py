"""Lists of a dataset's present images, from which some can be chosen to be edited."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import Response

from api.dependencies import Services
from api.http.paths import PAGES
from api.pages.browser.rendering import page
from core.domain.datasets.dataset import DatasetImage, DatasetKind
from core.domain.datasets.split import Side, side_of
from core.domain.values import Digest
from core.errors import PerennialError
from core.ports import UnitOfWork

# A form has few fields: the images of a page must fit, each a field.
IMAGES, GROUPS, OF_GROUP = 40, 5, 8
CLASSES = 500  # to choose from


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
class ListedImage:
    """An image with its class or its captions."""

    pixels: Digest
    texts: Sequence[str]
    file_label: str
    side: Side


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images that are shown together."""

    images: Sequence[ListedImage]
    count: int  # with those that are not shown

    @property
    def differs(self) -> bool:
        """True if its images have different classes."""
        return len({image.texts[0] for image in self.images}) > 1


def show_listing(
    request: Request,
    services: Services,
    dataset: str,
    listing: Listing,
    *,
    chosen: Collection[str] = (),
    to: str = "",
    done: tuple[str, int] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    """Return a page of images; after a refusal, with those that were chosen and why not."""
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        counts = work.datasets.count(found.id)
        groups, following = _groups(work, found.id, listing)
    return page(
        request,
        "datasets/images.html",
        dataset=found,
        labelled=found.kind is DatasetKind.LABELLED,
        listing=listing,
        classes=list(islice(counts, CLASSES)),
        counts=counts,
        total=counts.get(listing.of_class, 0) if listing.of_class else sum(counts.values()),
        groups=groups,
        more=_more(found.name, listing, following),
        chosen=chosen,
        to=to,
        done=done,
        refusal=refusal,
    )


def _more(dataset: str, listing: Listing, following: str | None) -> str | None:
    if following is None:
        return None
    later = Listing(alike=listing.alike, of_class=listing.of_class, after=following)
    return later.url(dataset)


def _groups(work: UnitOfWork, dataset: Any, listing: Listing) -> tuple[list[Group], str | None]:
    """Return the groups of a page, and what the next page comes after."""
    after = Digest(listing.after) if listing.after else None
    if listing.alike:
        alike = work.datasets.near_duplicate_page(dataset, GROUPS + 1, after)
        groups = [
            Group(images=_images(group.rows)[:OF_GROUP], count=group.count)
            for group in alike[:GROUPS]
        ]
        return groups, alike[GROUPS - 1].group if len(alike) > GROUPS else None
    rows = work.datasets.image_page(dataset, IMAGES + 1, after, text=listing.of_class or None)
    images = _images(rows)
    group = Group(images=images[:IMAGES], count=len(images))
    return [group] if images else [], images[IMAGES - 1].pixels if len(images) > IMAGES else None


def _images(rows: Iterable[DatasetImage]) -> list[ListedImage]:
    found = []
    for pixels, same in groupby(rows, key=lambda row: row.image.pixels):
        first, *rest = same
        found.append(
            ListedImage(
                pixels=pixels,
                texts=[first.text, *(row.text for row in rest)],
                file_label=first.file_label,
                side=side_of(first.image.group),
            )
        )
    return found
