"""The image pack of the demo, which the repository and the images of containers hold."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

from core.errors import NotFound

PACK = Path(__file__).parents[3] / "demo" / "pack"
EMOJI, PRODUCTS = "twemoji", "fashion_mnist"
CLASSES = 5  # of the ten products, in alphabetical order, as in the demo's first update
PER_CLASS = 200  # a fifth of them falls on the holdout side


def has_pack() -> bool:
    """Return whether this installation holds the pack."""
    return all((PACK / f"{name}.zip").is_file() for name in (EMOJI, PRODUCTS))


def emoji_archive() -> bytes:
    """Return all emoji as an archive with an image list. Raises NotFound."""
    rows = _rows(PACK, EMOJI)
    with _opened(PACK, EMOJI) as pack:
        return _archive(pack, ((row["path"], row["cls"]) for row in rows))


def products_archive() -> bytes:
    """Return the images to teach as an archive with an image list. Raises NotFound."""
    chosen = (
        (row["path"], name)
        for name in product_classes()
        for row in islice(_products(name, "train"), PER_CLASS)
    )
    with _opened(PACK, PRODUCTS) as pack:
        return _archive(pack, chosen)


def product_classes() -> tuple[str, ...]:
    """Return the names of the classes to teach. Raises NotFound."""
    return tuple(sorted({row["cls"] for row in _rows(PACK, PRODUCTS)})[:CLASSES])


def sample(index: int) -> bytes:
    """Return an image of a class to teach that no archive holds.

    Raises NotFound, and IndexError if there is no such class.
    """
    row = next(_products(product_classes()[index], "test"))
    with _opened(PACK, PRODUCTS) as pack:
        return pack.read(row["path"])


def _products(name: str, split: str) -> Iterator[Mapping[str, str]]:
    rows = _rows(PACK, PRODUCTS)
    return (row for row in rows if row["cls"] == name and row["split"] == split)


@cache
def _rows(folder: Path, name: str) -> Sequence[Mapping[str, str]]:
    with _opened(folder, name) as pack:
        return [json.loads(line) for line in pack.read("captions.jsonl").splitlines() if line]


def _opened(folder: Path, name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(folder / f"{name}.zip")
    except FileNotFoundError as error:
        raise NotFound("This installation has no image pack.") from error


def _archive(pack: zipfile.ZipFile, images: Iterator[tuple[str, str]]) -> bytes:
    """Return a zip of some images of the pack, and of the list that gives them their classes."""
    made, lines = io.BytesIO(), []
    with zipfile.ZipFile(made, "w") as archive:
        for path, name in images:
            archive.writestr(zipfile.ZipInfo(path), pack.read(path))
            lines.append(json.dumps({"file": path, "class": name}))
        archive.writestr(zipfile.ZipInfo("images.jsonl"), "\n".join(lines))
    return made.getvalue()
