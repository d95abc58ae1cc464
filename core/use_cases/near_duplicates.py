"""Which of the images that arrive are near-duplicates of one another or of known ones.

The search among all known images is done before the transaction that records the new ones;
within it, only what has come since is searched.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from core.domain.dataset import Image
from core.domain.near_duplicates import LookAlike, group_of
from core.domain.values import Digest
from core.errors import SplitConflict
from core.ports import Platform, UnitOfWork

Seen = tuple[Image, str]  # an image with its thumbnail


@dataclass(frozen=True, kw_only=True)
class Search:
    """The look-alikes of some thumbnails among the images up to a position."""

    position: int
    found: Mapping[str, Sequence[LookAlike]]


def search(platform: Platform, thumbnails: Iterable[str]) -> Search:
    """Look for the look-alikes of some thumbnails among all known images."""
    with platform.transactions(read_only=True) as work:
        known = work.thumbnails.after(0)
    return Search(
        position=known.position,
        found={thumbnail: known.near(thumbnail) for thumbnail in set(thumbnails)},
    )


def group(
    work: UnitOfWork, arriving: Iterable[Seen], searched: Search
) -> dict[Digest, Image | SplitConflict]:
    """Put images into their groups, in the order they come; keeps others from adding any.

    A known image stays where it is. One that looks like both sides is answered by the error.
    """
    arriving = list(arriving)
    work.thumbnails.lock()
    recent = work.thumbnails.after(searched.position)
    known = work.thumbnails.originals({image.pixels for image, _ in arriving})
    placed: dict[Digest, Image | SplitConflict] = {}
    for image, thumbnail in arriving:
        if image.pixels in placed:
            continue
        if image.pixels in known:
            original = known[image.pixels]
        else:
            try:
                original = group_of([*searched.found[thumbnail], *recent.near(thumbnail)])
            except SplitConflict as conflict:
                placed[image.pixels] = conflict
                continue
            recent.add(original or image.pixels, thumbnail)
        placed[image.pixels] = replace(image, near_duplicate_of=original)
    return placed
