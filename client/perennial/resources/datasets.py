# Written by `python -m devtools.sync_client` from perennial/aio/resources/datasets.py: change that.
"""Datasets: images to learn from or to test with."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from perennial.archives import opened
from perennial.blocking import content_of, drawn, entered
from perennial.connection import Connection
from perennial.image_files import Image, form_file
from perennial.replies import json_of
from perennial.request_parts import given, idempotency, path_of
from perennial.types.datasets import (
    Dataset,
    DatasetDetail,
    DatasetKind,
    DatasetVersion,
    Receipt,
)
from perennial.types.images import (
    Class,
    Diff,
    FrozenImage,
    Moved,
    NearDuplicates,
    Statistics,
)
from perennial.types.images import Image as ImageFacts
from perennial.types.jobs import Job
from perennial.uploads import batches


class Datasets:
    """The verbs of datasets."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        name: str,
        *,
        kind: DatasetKind | None = None,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Dataset:
        """Create an empty dataset, labelled unless `kind` says captioned."""
        body = given(name=name, kind=kind, description=description, metadata=metadata)
        return cast(Dataset, self._connection.post(path_of("datasets"), body))

    def change(
        self,
        name: str,
        *,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Dataset:
        """Replace the description or the metadata of a dataset."""
        body = given(description=description, metadata=metadata)
        return cast(Dataset, self._connection.patch(path_of("datasets", name), body))

    def delete(self, name: str) -> None:
        """Delete a dataset with its images and versions, none of which may be in use."""
        self._connection.delete(path_of("datasets", name))

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
        for batch in drawn(batches(images)):
            files = [form_file(text, image) for text, image in batch]
            path = path_of("datasets", name, "images")
            receipts += json_of(self._connection.send("POST", path, files=files))["data"]
            if on_batch is not None:
                on_batch(len(batch))
        return receipts

    def import_images(
        self,
        name: str,
        source: Path,
        *,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Send an archive of images, or a folder as one, and return the job that imports it.

        Folders of images become classes, unless CSV or JSON Lines files in the archive list the
        images. All images are added when the job succeeds, none when it does not. Its report says
        what became of each file; with `validate_only`, what would become of it. Raises OSError.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if idempotency_key is not None:
            headers |= idempotency(idempotency_key)
        query = _mode(validate_only)
        path = path_of("datasets", name, "imports")
        with entered(opened(source)) as archive:
            headers["Content-Length"] = str(archive.seek(0, os.SEEK_END))
            archive.seek(0)
            sent = {"content": content_of(archive), "headers": headers, "params": query}
            return cast(Job, json_of(self._connection.send("POST", path, **sent)))

    def import_upload(
        self,
        name: str,
        upload: str,
        *,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Import an archive that `uploads.send` has sent; see `import_images`."""
        return self._import(name, {"upload": upload}, validate_only, idempotency_key)

    def import_bucket(
        self,
        name: str,
        address: str,
        *,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Import what lies below `s3://bucket/prefix` as it is now; see `import_images`.

        The service reads the bucket itself, if its operator allows that.
        """
        return self._import(name, {"s3": address}, validate_only, idempotency_key)

    def import_report(self, job: str) -> Sequence[Receipt]:
        """Return what became of each file of an import."""
        report = self._connection.send("GET", path_of("jobs", job, "report"))
        return [cast(Receipt, json.loads(line)) for line in report.text.splitlines()]

    def freeze(self, name: str) -> DatasetVersion:
        """Make a version, which never changes, of all present images."""
        path = path_of("datasets", name, "versions")
        return cast(DatasetVersion, self._connection.post(path))

    def versions(self, name: str) -> Iterator[DatasetVersion]:
        """Yield the versions of a dataset, oldest first."""
        return self._connection.pages(path_of("datasets", name, "versions"))

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version that no model, no suite and no job needs."""
        self._connection.delete(path_of("datasets", name, "versions", version))

    def diff(self, name: str, version: int, *, against: int) -> Diff:
        """Return what a version added, removed and moved, with all images that differ."""
        path = path_of("datasets", name, "versions", version, "diff")
        found = cast(Diff, self._connection.get(path, against=against))
        rest = self._connection.pages(path, against=against, after=found["next"])
        if found["has_more"]:
            found["data"] += [change for change in rest]
        return {**found, "has_more": False, "next": None}

    def images(self, name: str, *, of_class: str | None = None) -> Iterator[ImageFacts]:
        """Yield the images of a dataset, of one class or all."""
        return self._connection.pages(path_of("datasets", name, "images"), **{"class": of_class})

    def frozen_images(
        self, name: str, version: int, *, of_class: str | None = None
    ) -> Iterator[FrozenImage]:
        """Yield the images of a dataset version, of one class or all."""
        path = path_of("datasets", name, "versions", version, "images")
        return self._connection.pages(path, **{"class": of_class})

    def read_image(self, name: str, pixels: str, *, thumbnail: bool = False) -> bytes:
        """Return an image as it is stored, or a small copy of it; both are WebP files."""
        last = ["thumbnail"] if thumbnail else []
        path = path_of("datasets", name, "images", pixels, *last)
        answer = self._connection.send("GET", path)
        return answer.content

    def delete_image(self, name: str, pixels: str) -> None:
        """Delete an image of a dataset that none of its versions holds."""
        self._connection.delete(path_of("datasets", name, "images", pixels))

    def rename_class(self, name: str, old: str, new: str, *, merge: bool = False) -> Class:
        """Rename a class; with `merge`, its images may join those of another class."""
        path = path_of("datasets", name, "classes", old)
        return cast(Class, self._connection.patch(path, {"name": new, "merge": merge}))

    def move_images(self, name: str, pixels: Iterable[str], *, to: str) -> Moved:
        """Move up to 1,000 images to a class, new or not; all or none."""
        body = {"class": to, "images": list(pixels)}
        return cast(Moved, self._connection.post(path_of("datasets", name, "moves"), body))

    def statistics(self, name: str) -> Statistics:
        """Count the present images of a dataset by class, side and near-duplicates."""
        return cast(Statistics, self._connection.get(path_of("datasets", name, "statistics")))

    def near_duplicates(self, name: str) -> Iterator[NearDuplicates]:
        """Yield the groups of images that look alike."""
        return self._connection.pages(path_of("datasets", name, "near-duplicates"))

    def _import(
        self, name: str, source: Mapping[str, str], validate_only: bool, key: str | None
    ) -> Job:
        reply = self._connection.send(
            "POST",
            path_of("datasets", name, "imports"),
            headers=idempotency(key),
            params={**source, **_mode(validate_only)},
        )
        return cast(Job, json_of(reply))


def _mode(validate_only: bool) -> dict[str, str]:
    return {"validate_only": "true"} if validate_only else {}
