"""Create and describe datasets, and change their drafts."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from core import errors
from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.freeze import read_manifest
from core.datasets.manifests import ManifestEntry
from core.datasets.rows import Datasets, ErasedImages
from core.datasets.rules import Dataset, DatasetKind, DatasetVersion
from core.platform import Platform
from core.values import DatasetId, Digest, Json, clean_class, clean_name, new_id


def create_dataset(
    platform: Platform,
    name: str,
    kind: DatasetKind,
    *,
    description: str = "",
    metadata: Mapping[str, str] | None = None,
) -> Dataset:
    """Open an empty dataset. Raises NameInvalid or NameTaken."""
    now = platform.clock()
    dataset = Dataset(
        id=DatasetId(new_id("ds", now)),
        name=clean_name(name),
        kind=kind,
        created_at=now,
        description=description,
        metadata=metadata or {},
    )
    with platform.transactions() as work:
        add_dataset(work, dataset)
        work.commit()
    return dataset


def add_dataset(work: Work, dataset: Dataset) -> None:
    """Store an empty dataset, with its audit event. Raises NameTaken."""
    work[Datasets].add(dataset)
    audit.record(
        work,
        Action.DATASET_CREATED,
        f"datasets/{dataset.name}",
        now=dataset.created_at,
        after={"kind": dataset.kind.value},
    )


def describe_dataset(
    platform: Platform,
    reference: str,
    *,
    description: str | None,
    metadata: Mapping[str, str] | None,
) -> Dataset:
    """Replace the description and the metadata of a dataset; None leaves one as it is.

    Raises DatasetNotFound.
    """
    with platform.transactions() as work:
        found = work[Datasets].get(reference, lock=True)
        changed = replace(
            found,
            description=found.description if description is None else description,
            metadata=found.metadata if metadata is None else dict(metadata),
        )
        if changed != found:
            work[Datasets].describe(changed)
            audit.record(
                work,
                Action.DATASET_DESCRIBED,
                f"datasets/{found.name}",
                now=platform.clock(),
                before=_description_of(found),
                after=_description_of(changed),
            )
        work.commit()
    return changed


def _description_of(dataset: Dataset) -> Json:
    return {"description": dataset.description, "metadata": dict(dataset.metadata)}


# Rename the classes of a dataset, and move its images between them.
#
# Only the draft changes: frozen versions keep the classes that they were frozen with.


def rename_class(platform: Platform, reference: str, name: str, *, to: str, merge: bool) -> int:
    """Rename a class and return how many images the class has then.

    With `merge`, the new name may be that of another class, which the images join. Raises
    DatasetNotFound, NotLabelled, ClassInvalid, ClassNotFound or ClassTaken.
    """
    to = clean_class(to)
    with platform.transactions() as work:
        dataset = _locked(work, reference)
        counts = work[Datasets].count(dataset.id)
        if name not in counts:
            raise errors.ClassNotFound("There is no such class in this dataset.", name=name)
        if to == name:
            return counts[name]
        if to in counts and not merge:
            raise errors.ClassTaken(name=to, images=counts[to])
        renamed = work[Datasets].rename_class(dataset.id, name, to)
        audit.record(
            work,
            Action.CLASS_RENAMED,
            f"datasets/{dataset.name}",
            now=platform.clock(),
            before={"class": name, "images": renamed},
            after={"class": to, "images": renamed + counts.get(to, 0)},
        )
        work.commit()
    return renamed + counts.get(to, 0)


def move_images(
    platform: Platform, reference: str, moves: Mapping[Digest, str]
) -> Mapping[Digest, str]:
    """Move each image to a class, new or not; all or none.

    Returns the former classes of those that were in another one. Raises DatasetNotFound,
    NotLabelled, ClassInvalid, or ImageNotFound with the images that the dataset does not hold.
    """
    to = {one: clean_class(name) for one, name in moves.items()}
    with platform.transactions() as work:
        dataset = _locked(work, reference)
        texts = work[Datasets].texts(dataset.id, [*to])
        if missing := sorted(to.keys() - texts.keys()):
            raise errors.ImageNotFound(pixels=missing[:20])
        moved = {one: held for one, (held,) in texts.items() if held != to[one]}
        if moved:
            for name in sorted({to[one] for one in moved}):
                work[Datasets].move_images(dataset.id, [o for o in moved if to[o] == name], name)
            audit.record(
                work,
                Action.IMAGES_MOVED,
                f"datasets/{dataset.name}",
                now=platform.clock(),
                before={"images": dict(Counter(moved.values()))},
                after={"images": dict(Counter(to[one] for one in moved))},
            )
            work.commit()
    return moved


def _locked(work: Work, reference: str) -> Dataset:
    dataset = work[Datasets].get(reference)
    if dataset.kind is not DatasetKind.LABELLED:
        raise errors.NotLabelled
    work[Datasets].lock(dataset.id)
    return dataset


# Find the stored form of an image, and remove images from a draft.


def stored_form(platform: Platform, pixels: Digest, *, dataset: str | None = None) -> Digest:
    """Return the artifact of an image of a dataset, in its draft or in a version, or of any.

    Raises DatasetNotFound, or ImageNotFound, which tells whether the image was erased.
    """
    with platform.transactions(read_only=True) as work:
        found = None if dataset is None else work[Datasets].get(dataset)
        if erasure := work[ErasedImages].erased([pixels]).get(pixels):
            raise errors.ImageNotFound("The image was erased.", pixels=pixels, erasure=erasure)
        image = work[Datasets].stored(pixels)
        if image and (found is None or work[Datasets].texts(found.id, [pixels])):
            return image.artifact
        versions = work[Datasets].versions(found.id) if image and found else ()
    for _, entry in _entries(platform, versions[::-1], [pixels]):
        return entry.artifact
    raise errors.ImageNotFound(pixels=pixels, **({"dataset": found.id} if found else {}))


def remove_images(platform: Platform, reference: str, pixels: Collection[Digest]) -> None:
    """Remove images from the draft of a dataset of which no version holds one; all or none.

    The versions are read before the transaction; if one has been frozen meanwhile, again. Raises
    DatasetNotFound, ImageNotFound, or ImageFrozen with the versions.
    """
    while True:
        with platform.transactions(read_only=True) as work:
            dataset = work[Datasets].get(reference)
            held = work[Datasets].texts(dataset.id, pixels)
            if missing := [one for one in pixels if one not in held]:
                raise errors.ImageNotFound(dataset=dataset.id, pixels=missing[0])
            seen = work[Datasets].versions(dataset.id)
        _require_draft_only(platform, seen, pixels)
        with platform.transactions() as work:
            for one in pixels:
                work[Datasets].remove_image(dataset.id, one)  # which freezing waits for
            now = work[Datasets].versions(dataset.id)
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
        raise errors.ImageFrozen(
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
