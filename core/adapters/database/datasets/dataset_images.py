"""The images in datasets, as they are written."""

from collections.abc import Collection, Sequence

from sqlalchemy import bindparam, delete, select, update

from core.adapters.database.datasets.image_lists import SqlImageLists
from core.adapters.database.datasets.images import keep_images
from core.adapters.database.statements import chunks, insert_missing
from core.adapters.database.tables.datasets import dataset_images, datasets, images, thumbnails
from core.domain.datasets.dataset import DatasetImage, DatasetKind
from core.domain.values import DatasetId, Digest
from core.errors import DatasetNotFound, ImageNotFound, LabelConflict


class SqlDatasetImages(SqlImageLists):
    """The part of the `Datasets` port that concerns images."""

    def add_image(self, row: DatasetImage) -> None:
        """Add one image; see `add_images`."""
        self.add_images(row.dataset, [row])

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
        values = [
            {
                "dataset": dataset,
                "pixels": row.image.pixels,
                "slot": "" if labelled else row.text,
                "text": row.text,
                "file_label": row.file_label,
                "added_at": row.added_at,
            }
            for row in rows
        ]
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
        """Remove an image. Raises ImageNotFound."""
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
        found: set[DatasetId] = set()
        for chunk in chunks(pixels):
            held = dataset_images.c.pixels.in_(chunk)
            query = select(dataset_images.c.dataset).distinct().where(held)
            found.update(self._connection.scalars(query))
        return found

    def erase(self, pixels: Collection[Digest]) -> None:
        """Remove images from all drafts, and what was derived from their pixels.

        Their rows stay, for one of them may identify a group. Changing these first keeps others
        from adding the images to a dataset: see `keep_images`.
        """
        self._connection.execute(
            update(images)
            .where(images.c.pixels == bindparam("erased"))
            .values(width=0, height=0, size=0, dhash="0" * 16),
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
