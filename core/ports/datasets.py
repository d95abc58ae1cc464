"""Labelled images: the rows of datasets and suites, and what decodes an upload."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.domain.dataset import Dataset, DatasetImage, DatasetVersion, Manifest
from core.domain.suite import Suite
from core.domain.values import DatasetId, Digest, SuiteId


class Datasets(Protocol):
    def add(self, dataset: Dataset) -> None:
        """Raises NameTaken."""

    def get(self, reference: str) -> Dataset:
        """By id or name. Raises DatasetNotFound."""

    def page(self, limit: int, after: str | None) -> Sequence[Dataset]: ...

    def add_image(self, row: DatasetImage) -> None:
        """Add an image with one text. The same image with the same text is no error."""

    def texts(self, dataset: DatasetId, pixels: Digest) -> Sequence[str]:
        """The texts this image already has in the dataset; empty when it is not there."""

    def images(self, dataset: DatasetId) -> Sequence[DatasetImage]: ...

    def image_page(
        self, dataset: DatasetId, limit: int, after: Digest | None
    ) -> Sequence[DatasetImage]: ...

    def count(self, dataset: DatasetId) -> Mapping[str, int]:
        """Images per text (for captioned datasets: {"": images})."""

    def remove_image(self, dataset: DatasetId, pixels: Digest) -> None:
        """Takes turns with `next_version`. Raises ImageNotFound."""

    def remove(self, dataset: DatasetId) -> None:
        """Raises InUse when it has versions."""

    def next_version(self, dataset: DatasetId) -> int:
        """The next version number, from a counter row locked until commit."""

    def add_version(self, version: DatasetVersion, manifest: Manifest) -> None: ...

    def version(self, dataset: DatasetId, number: int) -> DatasetVersion:
        """Raises DatasetVersionNotFound."""

    def versions(self, dataset: DatasetId) -> Sequence[DatasetVersion]: ...

    def trained_pixels(self, pixels: Collection[Digest], *, except_for: DatasetId) -> set[Digest]:
        """Those of the images that are on the training side of another dataset's versions.

        Or of this one's, once an update has learned from it or is going to; distilling its
        images as a reference set counts as learning.
        """


class Suites(Protocol):
    def add(self, suite: Suite, manifest: Manifest, dhashes: Collection[str]) -> None:
        """Raises NameTaken."""

    def get(self, reference: str) -> Suite:
        """By id or name. Raises SuiteNotFound."""

    def names(self, ids: Collection[SuiteId]) -> Mapping[str, str]:
        """The names of those with these ids."""

    def page(self, limit: int, after: str | None) -> Sequence[Suite]: ...

    def contains(self, pixels: Collection[Digest]) -> set[Digest]:
        """Those of the images that any suite holds."""

    def near(self, dhashes: Collection[str]) -> set[str]:
        """Those of the difference hashes that an image of any suite has."""


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """An image after decoding in the sandbox: the one stored form and what identifies it."""

    data: bytes  # the stored form: lossless WebP, RGB, bounded longest side, no metadata
    pixels: Digest  # SHA-256 of width, height and RGB bytes of the stored form
    width: int
    height: int
    dhash: str


class Decoder(Protocol):
    def decode(self, data: bytes) -> DecodedImage:
        """Raises UnsupportedImage, ImageCorrupt or ImageTooLarge."""
