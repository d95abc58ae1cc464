"""Search arriving images for near-duplicates among themselves and among known images.

The search is done before the transaction that records the new ones; within it, only what has come
since is searched.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from core.domain.datasets.dataset import Image
from core.domain.datasets.near_duplicates import SimilarImage, group_of
from core.domain.values import Digest
from core.errors import ArtifactCorrupt, ArtifactMissing, ImageCorrupt, ImageTooLarge, SplitConflict
from core.ports import Decoder, ImageWithThumbnail, Platform, UnitOfWork, ignore_progress


@dataclass(frozen=True, kw_only=True)
class SimilaritySearch:
    """The near-duplicates of arriving images, by their thumbnails."""

    position: int
    known: Mapping[str, Sequence[SimilarImage]]  # among the images up to the position
    arriving: Mapping[str, Sequence[SimilarImage]]  # each the group of its own pixels


def search(
    platform: Platform,
    decoder: Decoder,
    arriving: Collection[ImageWithThumbnail],
    progress: Callable[[int, int], object] = ignore_progress,
) -> SimilaritySearch:
    """Search all known images, and the arriving ones, for near-duplicates of the latter.

    `progress` is called with the number of thumbnails searched for, and of all.
    """
    _complete(platform, decoder, {image.dhash for image, _ in arriving})
    with platform.transactions(read_only=True) as work:
        known = work.thumbnails.all()
    others = known.of({image.pixels: thumbnail for image, thumbnail in arriving}.items())
    thumbnails = dict.fromkeys(thumbnail for _, thumbnail in arriving)
    among_known: dict[str, Sequence[SimilarImage]] = {}
    among_arriving: dict[str, Sequence[SimilarImage]] = {}
    for done, thumbnail in enumerate(thumbnails):
        progress(done, len(thumbnails))
        among_known[thumbnail] = known.near(thumbnail)
        among_arriving[thumbnail] = others.near(thumbnail)
    return SimilaritySearch(position=known.position, known=among_known, arriving=among_arriving)


def _complete(platform: Platform, decoder: Decoder, dhashes: Collection[str]) -> None:
    """Make the thumbnails that are missing of images which might be look-alikes.

    Only images of before there were thumbnails have none; each is decoded once.
    """
    with platform.transactions(read_only=True) as work:
        missing = work.thumbnails.missing(dhashes)
    made: list[ImageWithThumbnail] = []
    for image in missing:
        # One that is gone, or larger than is allowed by now, can be neither seen nor taught.
        with suppress(ArtifactMissing, ArtifactCorrupt, ImageCorrupt, ImageTooLarge):
            decoded = decoder.decode(platform.artifacts.get(image.artifact))
            made.append((image, decoded.thumbnail))
    if made:
        with platform.transactions() as work:
            work.thumbnails.lock()
            erased = work.erasures.erased([image.pixels for image, _ in made])
            work.thumbnails.add([one for one in made if one[0].pixels not in erased])
            work.commit()


@dataclass(frozen=True, kw_only=True)
class GroupedImage:
    """An image in its group, and all groups that it looks like, its own among them."""

    image: Image
    alike: frozenset[Digest]


def group(
    work: UnitOfWork, arriving: Iterable[ImageWithThumbnail], searched: SimilaritySearch
) -> dict[Digest, GroupedImage | SplitConflict]:
    """Put images into their groups, in the order they come; keeps others from adding any.

    A known image stays where it is. One that looks like both sides is answered by the error.
    """
    arriving = list(arriving)
    work.thumbnails.lock()
    recent = work.thumbnails.after(searched.position)
    known = work.thumbnails.originals({image.pixels for image, _ in arriving})
    placed: dict[Digest, GroupedImage | SplitConflict] = {}
    groups: dict[Digest, Digest] = {}  # of the new images placed so far
    for image, thumbnail in arriving:
        if image.pixels in placed:
            continue
        similar_images = [
            *searched.known[thumbnail],
            *recent.near(thumbnail),
            *(
                replace(like, group=groups[like.group])
                for like in searched.arriving[thumbnail]
                if like.group in groups
            ),
        ]
        if image.pixels in known:
            original = known[image.pixels]
        else:
            try:
                original = group_of(similar_images)
            except SplitConflict as conflict:
                placed[image.pixels] = conflict
                continue
            groups[image.pixels] = original or image.pixels
        placed[image.pixels] = GroupedImage(
            image=replace(image, near_duplicate_of=original),
            alike=frozenset({original or image.pixels, *(like.group for like in similar_images)}),
        )
    return placed
