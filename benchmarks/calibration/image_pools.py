"""The pools of images that suites are drawn from, as pixels in memory.

With the large image sets they are the CIFAR-100 test images of the 80 classes that the bundled
model knows, and Twemoji, a style it has never seen; without them, the Twemoji of the demo's pack.
"""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from core.clip.images import Preprocess, read_image
from demo.pack_reader import PACK

SETS = ("cifar100", "emoji_twemoji")
UPDATE_CLASSES = (  # of CIFAR-100, which the bundled model has not seen
    *("whale", "trout", "tulip", "cup", "orange", "lamp", "wardrobe", "butterfly", "tiger"),
    *("skyscraper", "sea", "camel", "fox", "snail", "boy", "crocodile", "hamster", "palm_tree"),
    *("motorcycle", "tractor"),
)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Images, uint8 (count, 3, height, width), with the class and captions of each."""

    name: str
    images: Tensor
    classes: tuple[str, ...]  # one for each image
    captions: tuple[tuple[str, ...], ...]  # for each image; () where the set has none


def pools(data: Path | None, preprocess: Preprocess) -> list[Pool]:
    """Read all pools; without a data folder, those of the demo's pack.

    `data` contains `<set>.zip` or unzipped `<set>/`. Raises FileNotFoundError.
    """
    if data is None:
        return [_emoji(zipfile.Path(PACK / "twemoji.zip"), preprocess)]
    return [
        _photographs(open_set(data, "cifar100"), preprocess),
        _emoji(open_set(data, "emoji_twemoji"), preprocess),
    ]


def _photographs(root: Path | zipfile.Path, preprocess: Preprocess) -> Pool:
    rows = [
        (folder.name.replace("_", " "), file.read_bytes())
        for folder in _sorted(root / "test")
        if folder.name not in UPDATE_CLASSES
        for file in _sorted(folder)
    ]
    return Pool(
        name="cifar100",
        images=_pixels([data for _, data in rows], preprocess),
        classes=tuple(name for name, _ in rows),
        captions=((),) * len(rows),
    )


def _emoji(root: Path | zipfile.Path, preprocess: Preprocess) -> Pool:
    lines = (root / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "heldout_style"]
    return Pool(
        name="twemoji",
        images=_pixels([(root / row["path"]).read_bytes() for row in rows], preprocess),
        classes=tuple(row["cls"] for row in rows),
        captions=tuple(
            tuple(dict.fromkeys(_captions(row["caption"], row.get("tags", [])))) for row in rows
        ),
    )


def _captions(caption: str, tags: list[str]) -> Iterator[str]:
    """Yield two to five variants of a caption, similar to the captions of one photograph."""
    yield caption
    yield f"this is a photo of {caption} ."
    yield from (f"{caption}, {tag}" for tag in tags[:2])
    if len(tags) > 1:
        yield f"{tags[0]} and {tags[1]}"


def _sorted(folder: Path | zipfile.Path) -> list[Path | zipfile.Path]:
    return sorted(folder.iterdir(), key=lambda path: path.name)


def _pixels(files: list[bytes], preprocess: Preprocess) -> Tensor:
    return torch.stack([preprocess.evaluation_pixels(read_image(data)) for data in files])


def open_set(data: Path, name: str) -> Path | zipfile.Path:
    """Return a set's root, `<data>/<name>/` or `<data>/<name>.zip`. Raises FileNotFoundError."""
    if (data / name).is_dir():
        return data / name
    archive = data / f"{name}.zip"
    if not archive.is_file():
        raise FileNotFoundError(
            f"needs {' and '.join(SETS)}; neither {name}/ nor {name}.zip is in {data}"
        )
    return zipfile.Path(archive)
