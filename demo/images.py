"""The demo's image pack, and the classes that it teaches."""

import json
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from perennial.requests import ImageFile

PACK = Path(__file__).parent / "pack"


@dataclass(frozen=True, kw_only=True)
class PackImage:
    """One image of the pack with its class or caption."""

    text: str  # class or caption
    file_name: str
    data: bytes
    split: str

    @property
    def file(self) -> ImageFile:
        """The image as the client sends it."""
        return ImageFile(file_name=self.file_name, data=self.data)


def captioned(name: str) -> list[PackImage]:
    """Return a set of the pack, each image with its caption."""
    return _rows(name, "caption")


def named(name: str) -> list[PackImage]:
    """Return a set of the pack, each image with its class."""
    return _rows(name, "cls")


def by_class(name: str, split: str) -> dict[str, list[PackImage]]:
    """Group one split of a set by class, in the pack's order."""
    found: dict[str, list[PackImage]] = defaultdict(list)
    for image in named(name):
        if image.split == split:
            found[image.text].append(image)
    return dict(found)


def _rows(name: str, field: str) -> list[PackImage]:
    with zipfile.ZipFile(PACK / f"{name}.zip") as pack:
        rows = [json.loads(line) for line in pack.read("captions.jsonl").splitlines() if line]
        return [
            PackImage(
                text=row[field],
                file_name=row["path"],
                data=pack.read(row["path"]),
                split=row["split"],
            )
            for row in rows
        ]


CLASSES = 5  # of an update
UPLOADED_PER_CLASS = 200  # a fifth of them falls on the holdout side
UNSEEN_PER_CLASS = 20


@dataclass(frozen=True, kw_only=True)
class Products:
    """The classes of one update."""

    dataset: str
    classes: tuple[str, ...]
    uploaded: tuple[PackImage, ...]
    unseen: tuple[PackImage, ...]  # never uploaded

    def __str__(self) -> str:
        return ", ".join(self.classes)


def read_products() -> tuple[Products, Products]:
    """Read the pack's products, in alphabetical order: five for each update."""
    train = by_class("fashion_mnist", "train")
    test = by_class("fashion_mnist", "test")
    images = {name: train[name] + test[name] for name in sorted(train)}
    names = tuple(images)

    def of(dataset: str, classes: tuple[str, ...]) -> Products:
        unseen = slice(UPLOADED_PER_CLASS, UPLOADED_PER_CLASS + UNSEEN_PER_CLASS)
        return Products(
            dataset=dataset,
            classes=classes,
            uploaded=tuple(row for name in classes for row in images[name][:UPLOADED_PER_CLASS]),
            unseen=tuple(row for name in classes for row in images[name][unseen]),
        )

    return of("products-1", names[:CLASSES]), of("products-2", names[CLASSES:])
