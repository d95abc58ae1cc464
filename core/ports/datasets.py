"""Labelled images: the rows of datasets and suites, and what decodes an upload."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.domain.datasets.dataset import Dataset, DatasetImage, DatasetVersion, Image, Manifest
from core.domain.datasets.near_duplicates import SimilarImage
from core.domain.datasets.suite import Suite
from core.domain.values import DatasetId, Digest, SuiteId


class Datasets(Protocol):
    def add(self, dataset: Dataset) -> None:
        """Raises NameTaken."""

    def get(self, reference: str) -> Dataset:
        """By id or name. Raises DatasetNotFound."""

    def page(self, limit: int, after: str | None) -> Sequence[Dataset]: ...

    def add_image(self, row: DatasetImage) -> None:
        """Add one image; see `add_images`."""

    def add_images(self, dataset: DatasetId, rows: Sequence[DatasetImage]) -> None:
        """Add images, each with one text. The same image with the same text is no error."""

    def texts(
        self, dataset: DatasetId, pixels: Collection[Digest]
    ) -> Mapping[Digest, Sequence[str]]:
        """The texts these images already have in the dataset; nothing of those not there."""

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

    def revision(self, dataset: DatasetId) -> int:
        """A number that grows whenever what the dataset holds, or an image of it, changes."""

    def next_version(self, dataset: DatasetId) -> int:
        """The next version number, from a counter row locked until commit."""

    def add_version(self, version: DatasetVersion, manifest: Manifest) -> None: ...

    def version(self, dataset: DatasetId, number: int) -> DatasetVersion:
        """Raises DatasetVersionNotFound."""

    def versions(self, dataset: DatasetId) -> Sequence[DatasetVersion]: ...

    def trained_groups(self, groups: Collection[Digest], *, except_for: DatasetId) -> set[Digest]:
        """Those of the groups that are on the training side of another dataset's versions.

        Or of this one's, once an update has learned from it or is going to; distilling its
        images as a reference set counts as learning.
        """


class Suites(Protocol):
    def add(self, suite: Suite, manifest: Manifest) -> None:
        """Raises NameTaken."""

    def get(self, reference: str) -> Suite:
        """By id or name. Raises SuiteNotFound."""

    def names(self, ids: Collection[SuiteId]) -> Mapping[str, str]:
        """The names of those with these ids."""

    def page(self, limit: int, after: str | None) -> Sequence[Suite]: ...

    def contains(self, groups: Collection[Digest]) -> set[Digest]:
        """Those of the groups of which any suite holds an image."""


class SimilarImages(Protocol):
    """Images as they look, in memory. It never changes."""

    position: int  # of the last of them, in the order they came

    def near(self, thumbnail: str) -> Sequence[SimilarImage]: ...

    def plus(self, group: Digest, thumbnail: str) -> "SimilarImages":
        """Return these images and one more."""


Seen = tuple[Image, str]  # an image with its thumbnail


class Thumbnails(Protocol):
    """How images look; a thumbnail, once it is there, never changes."""

    def all(self) -> SimilarImages:
        """All images. A process that has asked before reads only what has come since."""

    def after(self, position: int) -> SimilarImages:
        """The images that came after a position; after 0 come all."""

    def lock(self) -> None:
        """Keep other transactions from adding until this one ends."""

    def originals(self, pixels: Collection[Digest]) -> Mapping[Digest, Digest | None]:
        """Of those images that are known: the oldest image of its group, if it is not that."""

    def missing(self, dhashes: Collection[str]) -> Sequence[Image]:
        """Images of before there were thumbnails whose difference hash is close to one of these."""

    def add(self, seen: Sequence[Seen]) -> None:
        """Nothing changes for an image that has one."""


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """An image after decoding in the sandbox: the one stored form and what identifies it."""

    data: bytes  # the stored form: lossless WebP, RGB, bounded longest side, no metadata
    pixels: Digest  # SHA-256 of width, height and RGB bytes of the stored form
    width: int
    height: int
    dhash: str
    thumbnail: str  # 384 hex: 8 x 8 pixels of RGB


class Decoder(Protocol):
    def decode(self, data: bytes) -> DecodedImage:
        """Raises UnsupportedImage, ImageCorrupt, ImageTooLarge or ImageAnimated."""
