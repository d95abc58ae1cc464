"""Ports for datasets, suites, thumbnails and the decoding of uploads."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.domain.datasets.dataset import Dataset, DatasetImage, DatasetVersion, Image
from core.domain.datasets.manifest import Manifest
from core.domain.datasets.near_duplicates import NearDuplicates, SimilarImage
from core.domain.datasets.statistics import Member
from core.domain.datasets.suite import Suite
from core.domain.registry.image_input import ImageInput
from core.domain.values import DatasetId, Digest, JobId, SuiteId


@dataclass(frozen=True, kw_only=True)
class DatasetUses:
    """The versions, suites and jobs that need a dataset version."""

    versions: Sequence[str]  # that learned from it or distilled it, as "model:number"
    suites: Sequence[str]  # names of those that were made of it
    jobs: Sequence[JobId]  # unfinished
    replaced: Sequence[int]  # versions of the dataset that it stands for since images were erased


class Datasets(Protocol):
    def add(self, dataset: Dataset) -> None:
        """Add a dataset. Raises NameTaken."""

    def get(self, reference: str, *, lock: bool = False) -> Dataset:
        """Return a dataset by id or name; `lock` keeps others from changing it before commit.

        Raises DatasetNotFound.
        """

    def page(self, limit: int, after: str | None) -> Sequence[Dataset]: ...

    def add_image(self, row: DatasetImage) -> None:
        """Add one image; see `add_images`."""

    def add_images(self, dataset: DatasetId, rows: Sequence[DatasetImage]) -> None:
        """Add images, each with one text; skip those that already have the same text."""

    def texts(
        self, dataset: DatasetId, pixels: Collection[Digest]
    ) -> Mapping[Digest, Sequence[str]]:
        """Return the texts that images have in a dataset, without images that it does not hold."""

    def added_at(
        self, dataset: DatasetId, pixels: Collection[Digest]
    ) -> Mapping[tuple[Digest, str], datetime]:
        """Return when images came into a dataset with each of their texts."""

    def images(self, dataset: DatasetId) -> Sequence[DatasetImage]: ...

    def image_page(
        self, dataset: DatasetId, limit: int, after: Digest | None, *, text: str | None = None
    ) -> Sequence[DatasetImage]:
        """Return all rows of a page of images, by pixels; with `text`, of the images with it."""

    def near_duplicate_page(
        self, dataset: DatasetId, limit: int, after: Digest | None
    ) -> Sequence[NearDuplicates]:
        """Return a page of groups of near-duplicates, each with its first images."""

    def members(self, dataset: DatasetId) -> Iterable[Member]:
        """Yield every image of a dataset, once for each of its texts, by pixels."""

    def stored(self, pixels: Digest) -> Image | None:
        """Return an image of any dataset, by its pixels."""

    def stored_bytes(self) -> int:
        """Return the bytes of the images in datasets and of samples, each image counted once."""

    def missing_bytes(self, wanted: Collection[Image]) -> int:
        """Return the bytes of those images that no dataset and no sample holds, each once."""

    def count(self, dataset: DatasetId) -> Mapping[str, int]:
        """Return the number of images per text (for captioned datasets: {"": images})."""

    def remove_image(self, dataset: DatasetId, pixels: Digest) -> None:
        """Remove an image, serialised with `next_version`. Raises ImageNotFound."""

    def remove(self, dataset: DatasetId) -> None:
        """Remove a dataset with its images and its versions, which are locked."""

    def describe(
        self, dataset: DatasetId, *, description: str | None, metadata: Mapping[str, str] | None
    ) -> None:
        """Replace the description and the metadata of a dataset; None leaves one as it is."""

    def lock(self, dataset: DatasetId) -> Sequence[DatasetVersion]:
        """Return all versions, once nobody keeps one, and keep others from changing the dataset.

        Raises DatasetNotFound.
        """

    def uses(self, dataset: DatasetId, number: int | None = None) -> DatasetUses:
        """Return what needs a version, or any version of a dataset."""

    def remove_version(
        self, version: DatasetVersion, later: Iterable[tuple[DatasetVersion, Manifest]]
    ) -> None:
        """Remove a locked version, given those that were frozen after it, oldest first."""

    def rename_class(self, dataset: DatasetId, name: str, to: str) -> int:
        """Give all images of a class to another class; return how many there were."""

    def move_images(self, dataset: DatasetId, pixels: Collection[Digest], to: str) -> None:
        """Give images that the labelled dataset holds to a class."""

    def count_duplicates(self, dataset: DatasetId, count: int) -> None:
        """Add to the number of files that were sent again."""

    def revision(self, dataset: DatasetId) -> int:
        """Return a number that increases with every change to a dataset or to one of its images."""

    def next_version(self, dataset: DatasetId) -> int:
        """Return the next version number, from a counter row that stays locked until commit."""

    def add_version(self, version: DatasetVersion, manifest: Manifest) -> None: ...

    def version(self, dataset: DatasetId, number: int, *, keep: bool = False) -> DatasetVersion:
        """Return a dataset version; `keep` keeps others from deleting it before commit.

        Raises DatasetVersionNotFound.
        """

    def versions(self, dataset: DatasetId) -> Sequence[DatasetVersion]: ...

    def newest_versions(
        self, datasets: Collection[DatasetId]
    ) -> Mapping[DatasetId, tuple[DatasetVersion, int]]:
        """Return the newest version of each of some datasets that has one, and how many it has."""

    def replace_version(self, dataset: DatasetId, number: int, by: int) -> None:
        """Record the version that a locked one is replaced by, since images of it were erased."""

    def holding(self, pixels: Collection[Digest]) -> set[DatasetId]:
        """Return the datasets whose drafts hold one of some images."""

    def erase(self, pixels: Collection[Digest]) -> None:
        """Remove images from all drafts, and what was derived from their pixels."""

    def near_duplicates(self, pixels: Collection[Digest]) -> set[Digest]:
        """Return the other images of some images' groups."""

    def trained_groups(self, groups: Collection[Digest], *, except_for: DatasetId) -> set[Digest]:
        """Return the groups that are on the training side of other datasets' versions.

        Versions of `except_for` count too once an update has learned from that dataset or is going
        to; distilling its images as a reference set counts as learning.
        """


class Suites(Protocol):
    def add(self, suite: Suite, manifest: Manifest) -> None:
        """Add a suite. Raises NameTaken."""

    def get(self, reference: str) -> Suite:
        """Return a suite by id or name. Raises SuiteNotFound."""

    def names(self, ids: Collection[SuiteId]) -> Mapping[str, str]:
        """Return the names of suites by id."""

    def page(self, limit: int, after: str | None) -> Sequence[Suite]: ...

    def contains(self, groups: Collection[Digest]) -> set[Digest]:
        """Return the groups of which any suite holds an image."""


class SimilarImages(Protocol):
    """An immutable index, in memory, of images by their thumbnails."""

    position: int  # of the last image, in insertion order

    def near(self, thumbnail: str) -> Sequence[SimilarImage]: ...

    def of(self, rows: Iterable[tuple[Digest, str]]) -> "SimilarImages":
        """Return an index of these images alone, each a group of its own."""


ImageWithThumbnail = tuple[Image, str]  # an image with its thumbnail


class Thumbnails(Protocol):
    """The thumbnails of images; once stored, a thumbnail never changes."""

    def all(self) -> SimilarImages:
        """Return an index of all images; a process reads only those added since its last call."""

    def after(self, position: int) -> SimilarImages:
        """Return an index of the images added after a position; after 0 are all."""

    def lock(self) -> None:
        """Keep other transactions from adding thumbnails until this one ends."""

    def originals(self, pixels: Collection[Digest]) -> Mapping[Digest, Digest | None]:
        """Map each known image to the oldest of its group, or to None if it is the oldest."""

    def missing(self, dhashes: Collection[str]) -> Sequence[Image]:
        """Return images without thumbnail whose difference hash is close to one of `dhashes`.

        Such images are from before there were thumbnails.
        """

    def add(self, seen: Sequence[ImageWithThumbnail]) -> None:
        """Add thumbnails; an existing one stays unchanged."""


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """An image decoded in the sandbox: its stored form and what identifies it."""

    data: bytes  # the stored form: lossless WebP, RGB, bounded longest side, no metadata
    pixels: Digest  # SHA-256 of width, height and RGB bytes of the stored form
    width: int
    height: int
    dhash: str
    thumbnail: str  # 384 hex: 8 x 8 pixels of RGB


class Decoder(Protocol):
    def decode(self, data: bytes) -> DecodedImage:
        """Decode an upload.

        Raises UnsupportedImage, ImageCorrupt, ImageTooLarge or ImageAnimated.
        """

    def pixels(self, data: bytes, wanted: ImageInput) -> bytes:
        """Decode an image to a tower's input: RGB bytes, row by row.

        They are those of the image's stored form. Raises UnsupportedImage, ImageCorrupt,
        ImageTooLarge or ImageAnimated.
        """

    def preview(self, data: bytes) -> bytes:
        """Return a small lossy WebP of a stored image. Raises ImageCorrupt or ImageTooLarge."""
