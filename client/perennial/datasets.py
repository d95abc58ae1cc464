"""Datasets: images to learn from or to test with."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from perennial.connection import Connection, given, path_of
from perennial.image_files import Image, form_file
from perennial.replies import json_of
from perennial.types.datasets import (
    Dataset,
    DatasetDetail,
    DatasetKind,
    DatasetVersion,
    Receipt,
)
from perennial.uploads import batches


class Datasets:
    """The verbs of datasets."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, name: str, *, kind: DatasetKind | None = None) -> Dataset:
        """Create an empty dataset, labelled unless `kind` says captioned."""
        body = given(name=name, kind=kind)
        return cast(Dataset, self._connection.post(path_of("datasets"), body))

    def get(self, name: str) -> DatasetDetail:
        """Return a dataset with its image counts."""
        return cast(DatasetDetail, self._connection.get(path_of("datasets", name)))

    def list(self) -> Iterator[Dataset]:
        """Yield all datasets."""
        return self._connection.pages(path_of("datasets"))

    def upload(
        self,
        name: str,
        images: Iterable[tuple[str, Image]],
        on_batch: Callable[[int], object] | None = None,
    ) -> Sequence[Receipt]:
        """Upload images in batches and return a receipt for each, in order.

        An image comes with its text: its class or, for a captioned dataset, a caption. `on_batch`
        is called with the number of images after each batch. The receipt of a refused image says
        why; a batch of refused images alone raises ServiceError. Uploading an image again
        changes nothing.
        """
        receipts = []
        for batch in batches(images):
            files = [form_file(text, image) for text, image in batch]
            path = path_of("datasets", name, "images")
            receipts += json_of(self._connection.send("POST", path, files=files))["data"]
            if on_batch is not None:
                on_batch(len(batch))
        return receipts

    def freeze(self, name: str) -> DatasetVersion:
        """Make a version, which never changes, of all present images."""
        path = path_of("datasets", name, "versions")
        return cast(DatasetVersion, self._connection.post(path))

    def versions(self, name: str) -> Iterator[DatasetVersion]:
        """Yield the versions of a dataset, oldest first."""
        return self._connection.pages(path_of("datasets", name, "versions"))
