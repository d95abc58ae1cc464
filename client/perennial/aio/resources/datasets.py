"""Datasets, suites and erasures."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from perennial import types
from perennial.aio.connection import Resource, drawn
from perennial.requests import (
    LABELS_AT_ONCE,
    Image,
    batches,
    form_file,
    given,
    idempotency,
    json_of,
    path_of,
)


class Datasets(Resource):
    """Datasets: images to learn from or to test with."""

    async def create(
        self,
        name: str,
        *,
        kind: types.DatasetKind | None = None,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> types.Dataset:
        """Create an empty dataset, labelled unless `kind` says captioned."""
        body = given(name=name, kind=kind, description=description, metadata=metadata)
        return await self._connection.post(path_of("datasets"), body)

    async def change(
        self,
        name: str,
        *,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> types.Dataset:
        """Replace the description or the metadata of a dataset."""
        body = given(description=description, metadata=metadata)
        return await self._connection.patch(path_of("datasets", name), body)

    async def delete(self, name: str) -> None:
        """Delete a dataset with its images and versions, none of which may be in use."""
        await self._connection.delete(path_of("datasets", name))

    async def get(self, name: str) -> types.DatasetDetail:
        """Return a dataset with its image counts."""
        return await self._connection.get(path_of("datasets", name))

    def list(self) -> AsyncIterator[types.Dataset]:
        """Yield all datasets."""
        return self._connection.pages(path_of("datasets"))

    async def upload(
        self,
        name: str,
        images: Iterable[tuple[str, Image]],
        on_batch: Callable[[int], object] | None = None,
    ) -> Sequence[types.Receipt]:
        """Upload images in batches and return a receipt for each, in order.

        An image comes with its text: its class or, for a captioned dataset, a caption. `on_batch`
        is called with the number of images after each batch. The receipt of a refused image says
        why; a batch of refused images alone raises ServiceError. Uploading an image again
        changes nothing.
        """
        receipts = []
        async for batch in drawn(batches(images)):
            files = [form_file(text, image) for text, image in batch]
            path = path_of("datasets", name, "images")
            receipts += json_of(await self._connection.send("POST", path, files=files))["data"]
            if on_batch is not None:
                on_batch(len(batch))
        return receipts

    async def import_images(
        self,
        name: str,
        source: Path,
        *,
        validate_only: bool = False,
        image_column: str | None = None,
        label_column: str | None = None,
        caption_column: str | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Send an archive, a folder or a Parquet file, and return the job that imports it.

        Folders of images become classes, unless CSV, JSON Lines or Parquet files list or hold the
        images; their columns are found by names and types, or named here. All images are added when
        the job succeeds, none when it does not. Its report says what became of each file; with
        `validate_only`, what would become of it. Raises OSError.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if idempotency_key is not None:
            headers |= idempotency(idempotency_key)
        path = path_of("datasets", name, "imports")
        query = _query(validate_only, image_column, label_column, caption_column)
        return await self._connection.post_file(path, source, headers=headers, **query)

    async def import_upload(
        self,
        name: str,
        upload: str,
        *,
        validate_only: bool = False,
        image_column: str | None = None,
        label_column: str | None = None,
        caption_column: str | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Import an archive that `uploads.send` has sent; see `import_images`."""
        query = _query(validate_only, image_column, label_column, caption_column)
        return await self._import(name, query | {"upload": upload}, idempotency_key)

    async def import_bucket(
        self,
        name: str,
        address: str,
        *,
        validate_only: bool = False,
        image_column: str | None = None,
        label_column: str | None = None,
        caption_column: str | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Import what lies below `s3://bucket/prefix` as it is now; see `import_images`.

        The service reads the bucket itself, if its operator allows that.
        """
        query = _query(validate_only, image_column, label_column, caption_column)
        return await self._import(name, query | {"s3": address}, idempotency_key)

    async def import_report(self, job: str) -> Sequence[types.Receipt]:
        """Return what became of each file of an import."""
        report = await self._connection.send("GET", path_of("jobs", job, "report"))
        return [json.loads(line) for line in report.text.splitlines()]

    async def freeze(self, name: str) -> types.DatasetVersion:
        """Make a version, which never changes, of all present images."""
        path = path_of("datasets", name, "versions")
        return await self._connection.post(path)

    def versions(self, name: str) -> AsyncIterator[types.DatasetVersion]:
        """Yield the versions of a dataset, oldest first."""
        return self._connection.pages(path_of("datasets", name, "versions"))

    async def delete_version(self, name: str, version: int) -> None:
        """Delete a version that no model, no suite and no job needs."""
        await self._connection.delete(path_of("datasets", name, "versions", version))

    async def diff(self, name: str, version: int, *, against: int) -> types.Diff:
        """Return what a version added, removed and moved, with all images that differ."""
        path = path_of("datasets", name, "versions", version, "diff")
        found: types.Diff = await self._connection.get(path, against=against)
        rest = self._connection.pages(path, against=against, after=found["next"])
        if found["has_more"]:
            found["data"] += [change async for change in rest]
        return {**found, "has_more": False, "next": None}

    def images(self, name: str, *, of_class: str | None = None) -> AsyncIterator[types.Image]:
        """Yield the images of a dataset, of one class or all."""
        return self._connection.pages(path_of("datasets", name, "images"), **{"class": of_class})

    def frozen_images(
        self, name: str, version: int, *, of_class: str | None = None
    ) -> AsyncIterator[types.FrozenImage]:
        """Yield the images of a dataset version, of one class or all."""
        path = path_of("datasets", name, "versions", version, "images")
        return self._connection.pages(path, **{"class": of_class})

    async def read_image(self, name: str, pixels: str, *, thumbnail: bool = False) -> bytes:
        """Return an image as it is stored, or a small copy of it; both are WebP files."""
        last = ["thumbnail"] if thumbnail else []
        path = path_of("datasets", name, "images", pixels, *last)
        answer = await self._connection.send("GET", path)
        return answer.content

    async def delete_image(self, name: str, pixels: str) -> None:
        """Delete an image of a dataset that none of its versions holds."""
        await self._connection.delete(path_of("datasets", name, "images", pixels))

    async def rename_class(
        self, name: str, old: str, new: str, *, merge: bool = False
    ) -> types.Class:
        """Rename a class; with `merge`, its images may join those of another class."""
        path = path_of("datasets", name, "classes", old)
        return await self._connection.patch(path, {"name": new, "merge": merge})

    async def move_images(self, name: str, pixels: Iterable[str], *, to: str) -> types.Moved:
        """Move up to 1,000 images to a class, new or not; all or none."""
        body = {"class": to, "images": list(pixels)}
        return await self._connection.post(path_of("datasets", name, "moves"), body)

    async def statistics(self, name: str) -> types.Statistics:
        """Count the present images of a dataset by class, side and near-duplicates."""
        return await self._connection.get(path_of("datasets", name, "statistics"))

    def near_duplicates(self, name: str) -> AsyncIterator[types.NearDuplicates]:
        """Yield the groups of images that look alike."""
        return self._connection.pages(path_of("datasets", name, "near-duplicates"))

    async def _import(self, name: str, query: Mapping[str, str], key: str | None) -> types.Job:
        path = path_of("datasets", name, "imports")
        return await self._connection.post(path, headers=idempotency(key), **query)


def _query(
    validate_only: bool, image: str | None, label: str | None, caption: str | None
) -> dict[str, str]:
    columns = given(image_column=image, label_column=label, caption_column=caption)
    return {**columns, "validate_only": "true"} if validate_only else columns


class Suites(Resource):
    """Suites: images that a model must not forget."""

    async def create(
        self,
        name: str,
        *,
        kind: types.SuiteKind,
        dataset: str,
        dataset_version: int | None = None,
        prompt: str | None = None,
        mirror: bool = False,
        classes: Sequence[str] | None = None,
    ) -> types.Suite:
        """Create a suite from all images of a dataset version.

        Without `dataset_version`, that is of the dataset's present images, which become a version
        unless the newest has the same or the suite is refused. `prompt` is a template with one
        `{name}`, by default that of the models if all have the same; suites for retrieval do not
        use it. `mirror` says that a mirror image shows the same class. `classes` are what the
        images of an unlabelled suite may show.
        """
        source = {"dataset": dataset, "dataset_version": dataset_version}
        listed = None if classes is None else list(classes)
        body = given(
            name=name, kind=kind, prompt=prompt, mirror=mirror or None, classes=listed, **source
        )
        return await self._connection.post(path_of("suites"), body)

    async def grow(
        self, name: str, *, dataset: str, reason: str, dataset_version: int | None = None
    ) -> types.Suite:
        """Add the images of a dataset version to a suite, which makes its next edition.

        Without `dataset_version`, these are the present images. The edition judges all models of
        the suite from now on: score again what should go live.
        """
        body = given(dataset=dataset, dataset_version=dataset_version, reason=reason)
        return await self._connection.post(path_of("suites", name, "images"), body)

    def to_label(self, name: str, version: str) -> AsyncIterator[types.UnlabelledImage]:
        """Yield the images of an unlabelled suite about which a version disagrees with others.

        The version is one that was scored on the suite, such as `demo:3`. The order is random and
        fixed: label the first ones and leave none out.
        """
        return self._connection.pages(path_of("suites", name, "to-label"), version=version)

    async def label(
        self, name: str, labels: Iterable[tuple[str, str]]
    ) -> Sequence[types.ImageLabelReceipt]:
        """Send the classes that images of an unlabelled suite show, each with the pixels' digest.

        Return a receipt for each. An image's first label stays. Raises ServiceError if all of a
        request, which holds up to 1,000, are refused.
        """
        rows = [{"pixels": pixels, "class": label} for pixels, label in labels]
        receipts: list[types.ImageLabelReceipt] = []
        for first in range(0, len(rows), LABELS_AT_ONCE):
            body = {"labels": rows[first : first + LABELS_AT_ONCE]}
            reply = await self._connection.post(path_of("suites", name, "labels"), body)
            receipts += reply["data"]
        return receipts

    async def read_image(self, name: str, pixels: str) -> bytes:
        """Return an image of a suite as it is stored: a WebP file."""
        path = path_of("suites", name, "images", pixels)
        return (await self._connection.send("GET", path)).content

    async def get(self, name: str) -> types.Suite:
        """Return a suite: by its name the newest edition."""
        return await self._connection.get(path_of("suites", name))

    async def delete(self, name: str) -> None:
        """Retire a suite that judges no model: its images may be trained on again."""
        await self._connection.delete(path_of("suites", name))

    def list(self) -> AsyncIterator[types.Suite]:
        """Yield all suites, also retired ones."""
        return self._connection.pages(path_of("suites"))


class Erasures(Resource):
    """Erasures: images taken back from all that holds them or has learned from them."""

    async def order(
        self,
        images: Sequence[str],
        *,
        reason: str,
        retrain: types.Retraining | None = None,
        idempotency_key: str | None = None,
    ) -> types.Erasure:
        """Order that images be erased, named by the digests of their pixels.

        `retrain` says which of the versions that learned from them are trained again.
        """
        body = given(images=list(images), reason=reason, retrain=retrain)
        headers = idempotency(idempotency_key)
        return await self._connection.post(path_of("erasures"), body, headers=headers)

    async def identify(self, images: Iterable[Image]) -> Sequence[str]:
        """Return the digests of the pixels of images, by which they are erased."""
        digests, path = [], path_of("erasures", "digests")
        async for batch in drawn(batches(("images", image) for image in images)):
            files = [form_file(field, image) for field, image in batch]
            found = json_of(await self._connection.send("POST", path, files=files))["data"]
            digests += [one["pixels"] for one in found]
        return digests

    async def get(self, erasure: str) -> types.Erasure:
        """Return an erasure, and how far it has come."""
        return await self._connection.get(path_of("erasures", erasure))

    def list(self) -> AsyncIterator[types.Erasure]:
        """Yield all erasures, oldest first."""
        return self._connection.pages(path_of("erasures"))

    async def certificate(self, erasure: str) -> types.Certificate:
        """Return the certificate of an erasure that has ended."""
        return await self._connection.get(path_of("erasures", erasure, "certificate"))
