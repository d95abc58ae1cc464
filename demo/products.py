"""The classes that the demo teaches: Fashion-MNIST's ten products, five for each update."""

from dataclasses import dataclass

from demo import pack_reader
from demo.pack_reader import PackImage

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
    train = pack_reader.by_class("fashion_mnist", "train")
    test = pack_reader.by_class("fashion_mnist", "test")
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
