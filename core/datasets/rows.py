"""Rows of datasets, and of their images as they are written."""

from collections.abc import Collection, Mapping, Sequence
from typing import Self

from sqlalchemy import Connection, bindparam, delete, select, update

from core.database.statements import (
    chunks,
    find_named,
    insert_missing,
    insert_new,
    page_by_id,
    rows_with,
)
from core.database.tables import dataset_images, datasets, erased_images, images, thumbnails
from core.database.work import Rows, Work
from core.datasets.list_rows import CountCache, ImageListRows
from core.datasets.rules import Dataset, DatasetImage, DatasetKind, DatasetVersion, Image
from core.datasets.version_rows import DatasetVersionRows
from core.errors import DatasetNotFound, ImageErased, ImageNotFound, LabelConflict, NameTaken
from core.values import DatasetId, Digest, ErasureId, from_plain


class DatasetImageRows(ImageListRows):
    """The part of `Datasets` that writes images."""

    def add_images(self, dataset: DatasetId, rows: Sequence[DatasetImage]) -> None:
        """Add images, each with one text. Adding the same image and text again has no effect.

        Raises DatasetNotFound, and LabelConflict when a labelled dataset already holds an image
        under another class.
        """
        labelled = self._increment_revision(dataset) is DatasetKind.LABELLED
        if labelled:
            known = self.texts(dataset, {row.image.pixels for row in rows})
            for row in rows:
                held = known.get(row.image.pixels, [row.text])
                if row.text not in held:
                    raise LabelConflict(held=held[0])
        keep_images(self._connection, [row.image for row in rows])
        values = (
            {
                "dataset": dataset,
                "pixels": row.image.pixels,
                "slot": "" if labelled else row.text,
                "text": row.text,
                "file_label": row.file_label,
                "added_at": row.added_at,
            }
            for row in rows
        )
        insert_missing(self._connection, dataset_images, values)

    def rename_class(self, dataset: DatasetId, name: str, to: str) -> int:
        """Give all images of a class to another class; return how many there were."""
        self._increment_revision(dataset)
        renamed = self._connection.execute(
            update(dataset_images)
            .where(dataset_images.c.dataset == dataset, dataset_images.c.text == name)
            .values(text=to)
        )
        return renamed.rowcount

    def move_images(self, dataset: DatasetId, pixels: Collection[Digest], to: str) -> None:
        """Give images that the labelled dataset holds to a class."""
        self._increment_revision(dataset)
        for chunk in chunks(pixels):
            self._connection.execute(
                update(dataset_images)
                .where(dataset_images.c.dataset == dataset, dataset_images.c.pixels.in_(chunk))
                .values(text=to)
            )

    def remove_image(self, dataset: DatasetId, pixels: Digest) -> None:
        """Remove an image, serialised with `next_version`. Raises ImageNotFound."""
        self._increment_revision(dataset)
        gone = self._connection.execute(
            delete(dataset_images).where(
                dataset_images.c.dataset == dataset, dataset_images.c.pixels == pixels
            )
        )
        if gone.rowcount == 0:
            raise ImageNotFound(dataset=dataset, pixels=pixels)

    def holding(self, pixels: Collection[Digest]) -> set[DatasetId]:
        """Return the datasets whose drafts hold one of some images."""
        query = select(dataset_images.c.dataset).distinct()
        held = rows_with(self._connection, query, dataset_images.c.pixels, pixels)
        return {row.dataset for row in held}

    def erase(self, pixels: Collection[Digest]) -> None:
        """Remove images from all drafts, and what was derived from their pixels.

        Their rows stay, for one of them may identify a group. Changing these first keeps others
        from adding the images to a dataset: see `keep_images`.
        """
        self._connection.execute(
            update(images)
            .where(images.c.pixels == bindparam("erased"))
            .values(width=0, height=0, size=0),
            [{"erased": one} for one in sorted(pixels)],
        )
        for dataset in sorted(self.holding(pixels)):
            self._increment_revision(dataset)
        for chunk in chunks(pixels):
            held = dataset_images.c.pixels.in_(chunk)
            self._connection.execute(delete(dataset_images).where(held))
            shown = thumbnails.c.pixels.in_(chunk)
            self._connection.execute(update(thumbnails).where(shown).values(thumbnail=""))

    def _increment_revision(self, dataset: DatasetId) -> DatasetKind:
        """Increment the revision and return the kind. Raises DatasetNotFound.

        `next_version` locks the same row, so that changes and freezes take turns.
        """
        changed = datasets.c.revision + 1
        kind = self._connection.scalar(
            update(datasets)
            .where(datasets.c.id == dataset)
            .values(revision=changed)
            .returning(datasets.c.kind)
        )
        if kind is None:
            raise DatasetNotFound(dataset=dataset)
        return DatasetKind(kind)


class Datasets(DatasetImageRows, DatasetVersionRows):
    """Rows of datasets."""

    @classmethod
    def open(cls, work: Work) -> Self:
        """Return the rows in a transaction."""
        return cls(work.connection, work.cache(CountCache))

    def add(self, dataset: Dataset) -> None:
        """Store a dataset. Raises NameTaken."""
        values = {**vars(dataset), "metadata": dict(dataset.metadata), "last_version": 0}
        if not insert_new(self._connection, datasets, values):
            raise NameTaken(name=dataset.name)

    def get(self, reference: str, *, lock: bool = False) -> Dataset:
        """Return a dataset by id or name; `lock` keeps others from changing it until commit.

        Raises DatasetNotFound.
        """
        row = find_named(self._connection, datasets, reference, lock=lock)
        if row is None:
            raise DatasetNotFound(dataset=reference)
        return from_plain(Dataset, row._mapping)

    def page(self, limit: int, after: str | None) -> Sequence[Dataset]:
        """Return a page of datasets, oldest first; `after` is the last id of the previous page."""
        rows = page_by_id(self._connection, datasets, limit, after)
        return [from_plain(Dataset, row._mapping) for row in rows]

    def remove(self, dataset: DatasetId) -> None:
        """Delete a dataset with its images and its versions. Raises DatasetNotFound."""
        self._remove_versions(dataset)
        gone = self._connection.execute(delete(datasets).where(datasets.c.id == dataset))
        if gone.rowcount == 0:
            raise DatasetNotFound(dataset=dataset)

    def describe(self, dataset: Dataset) -> None:
        """Write the description and the metadata of a dataset."""
        values = {"description": dataset.description, "metadata": dict(dataset.metadata)}
        self._connection.execute(update(datasets).where(datasets.c.id == dataset.id).values(values))

    def count_duplicates(self, dataset: DatasetId, count: int) -> None:
        """Add to the number of files that were sent again."""
        added = datasets.c.duplicates + count
        self._connection.execute(
            update(datasets).where(datasets.c.id == dataset).values(duplicates=added)
        )

    def lock(self, dataset: DatasetId) -> Sequence[DatasetVersion]:
        """Return all versions, once nobody keeps one, and keep others from changing the dataset.

        Raises DatasetNotFound.
        """
        query = select(datasets.c.id).where(datasets.c.id == dataset).with_for_update()
        if self._connection.scalar(query) is None:
            raise DatasetNotFound(dataset=dataset)
        return self.versions(dataset, lock=True)

    def revision(self, dataset: DatasetId) -> int:
        """Return a number that grows whenever the dataset's contents, or an image in it, change."""
        query = select(datasets.c.revision).where(datasets.c.id == dataset)
        return int(self._connection.scalar(query) or 0)

    def next_version(self, dataset: DatasetId) -> int:
        """Return the next version number, from a counter row locked until commit."""
        number = self._connection.scalar(
            update(datasets)
            .where(datasets.c.id == dataset)
            .values(last_version=datasets.c.last_version + 1)
            .returning(datasets.c.last_version)
        )
        if number is None:
            raise DatasetNotFound(dataset=dataset)
        return int(number)


# The images that datasets share.

_ANY_ERASED = select(erased_images.c.pixels).limit(1)


class ErasedImages(Rows):
    """Rows of images that were erased, and of their stored forms."""

    def erased(self, pixels: Collection[Digest]) -> Mapping[Digest, ErasureId]:
        """Return which of some images were erased, and by which erasure."""
        if self._connection.execute(_ANY_ERASED).first() is None:
            return {}  # as in most services, where thousands of images need not be asked for
        query = select(erased_images.c.pixels, erased_images.c.erasure)
        found = rows_with(self._connection, query, erased_images.c.pixels, pixels)
        return {row.pixels: row.erasure for row in found}

    def forms(self, pixels: Collection[Digest]) -> Mapping[Digest, Digest]:
        """Return the newest stored form of each of some images, also of erased ones."""
        query = select(images.c.pixels, images.c.artifact)
        found = rows_with(self._connection, query, images.c.pixels, pixels)
        return {row.pixels: row.artifact for row in found}


def keep_images(connection: Connection, kept: Sequence[Image]) -> None:
    """Store images, and update those that are known.

    Their rows are locked, always in the same order: while a stored form is replaced, nobody can
    add the image to a dataset, whose revision would then miss the change. Raises ImageErased.
    """
    kept = sorted(kept, key=lambda image: image.pixels)
    insert_missing(connection, images, map(_values, kept))
    changed: list[Image] = []
    for some in chunks(kept):
        pixels = {image.pixels for image in some}
        query = select(images.c.pixels, images.c.artifact).where(images.c.pixels.in_(pixels))
        query = query.order_by(images.c.pixels).with_for_update(key_share=True)
        stored = {row.pixels: row.artifact for row in connection.execute(query)}
        changed += [image for image in some if stored[image.pixels] != image.artifact]
        erased = select(erased_images.c.pixels).where(erased_images.c.pixels.in_(pixels))
        if found := sorted(set(connection.scalars(erased))):
            raise ImageErased(pixels=found[:20])
    for image in changed:
        _replace(connection, image)


def _replace(connection: Connection, image: Image) -> None:
    """Replace an image's row and increment the revision of every dataset that holds it."""
    holders = select(dataset_images.c.dataset).where(dataset_images.c.pixels == image.pixels)
    revision = datasets.c.revision + 1
    connection.execute(update(datasets).where(datasets.c.id.in_(holders)).values(revision=revision))
    replaced = update(images).where(images.c.pixels == image.pixels)
    connection.execute(replaced.values(_values(image)))


def _values(image: Image) -> dict[str, object]:
    return {name: value for name, value in vars(image).items() if name in images.c}
