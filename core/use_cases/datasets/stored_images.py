"""Find the stored form of a dataset's image, and remove an image from its draft."""

from collections.abc import Collection, Iterator, Sequence

from core.domain.access.audit import Action
from core.domain.datasets.dataset import DatasetVersion
from core.domain.datasets.manifest import ManifestEntry
from core.domain.values import Digest
from core.errors import ImageFrozen, ImageNotFound
from core.ports import Platform
from core.use_cases.access import audit
from core.use_cases.datasets.manifests import read_manifest


def stored_form(platform: Platform, reference: str, pixels: Digest) -> Digest:
    """Return the artifact of an image that a dataset holds, in its draft or in a version.

    Raises DatasetNotFound, or ImageNotFound, which tells whether the image was erased.
    """
    with platform.transactions(read_only=True) as work:
        dataset = work.datasets.get(reference)
        if erasure := work.erasures.erased([pixels]).get(pixels):
            raise ImageNotFound("The image was erased.", pixels=pixels, erasure=erasure)
        image = work.datasets.stored(pixels)
        if image is not None and work.datasets.texts(dataset.id, [pixels]):
            return image.artifact
        versions = work.datasets.versions(dataset.id)
    if image is not None:
        for _, entry in _entries(platform, versions[::-1], [pixels]):
            return entry.artifact
    raise ImageNotFound(dataset=dataset.id, pixels=pixels)


def stored_form_anywhere(platform: Platform, pixels: Digest) -> Digest:
    """Return the artifact of an image of any dataset. Raises ImageNotFound."""
    with platform.transactions(read_only=True) as work:
        image = work.datasets.stored(pixels)
        erasure = work.erasures.erased([pixels]).get(pixels)
    if erasure is not None:
        raise ImageNotFound("The image was erased.", pixels=pixels, erasure=erasure)
    if image is None:
        raise ImageNotFound(pixels=pixels)
    return image.artifact


def remove_image(platform: Platform, reference: str, pixels: Digest) -> None:
    """Remove an image from the draft of a dataset of which no version holds it.

    Raises DatasetNotFound, ImageNotFound, or ImageFrozen with the versions.
    """
    remove_images(platform, reference, [pixels])


def remove_images(platform: Platform, reference: str, pixels: Collection[Digest]) -> None:
    """Remove images from the draft of a dataset of which no version holds one; all or none.

    The versions are read before the transaction; if one has been frozen meanwhile, again. Raises
    DatasetNotFound, ImageNotFound, or ImageFrozen with the versions.
    """
    while True:
        with platform.transactions(read_only=True) as work:
            dataset = work.datasets.get(reference)
            held = work.datasets.texts(dataset.id, pixels)
            if missing := [one for one in pixels if one not in held]:
                raise ImageNotFound(dataset=dataset.id, pixels=missing[0])
            seen = work.datasets.versions(dataset.id)
        _require_draft_only(platform, seen, pixels)
        with platform.transactions() as work:
            for one in pixels:
                work.datasets.remove_image(dataset.id, one)  # which freezing waits for
            now = work.datasets.versions(dataset.id)
            if {version.number for version in now} <= {version.number for version in seen}:
                for one in pixels:
                    audit.record(
                        work,
                        Action.IMAGE_DELETED,
                        f"datasets/{dataset.name}/images/{one}",
                        now=platform.clock(),
                    )
                work.commit()
                return


def _require_draft_only(
    platform: Platform, versions: Sequence[DatasetVersion], pixels: Collection[Digest]
) -> None:
    found = [
        (version.number, entry.pixels) for version, entry in _entries(platform, versions, pixels)
    ]
    if found:
        holding = list(dict.fromkeys(number for number, _ in found))
        frozen = len({one for _, one in found})
        which = "the image" if len(pixels) == 1 else f"{frozen:,} of the {len(pixels):,} images"
        raise ImageFrozen(
            f"Frozen versions hold {which}: {', '.join(map(str, holding))}. A version never "
            "changes: delete these versions first.",
            versions=holding,
        )


def _entries(
    platform: Platform, versions: Sequence[DatasetVersion], pixels: Collection[Digest]
) -> Iterator[tuple[DatasetVersion, ManifestEntry]]:
    """Yield each version that holds one of some images, with the image's line in its manifest."""
    wanted = set(pixels)
    for version in versions:
        for entry in read_manifest(platform.artifacts, version.manifest).entries:
            if entry.pixels in wanted:
                yield version, entry
