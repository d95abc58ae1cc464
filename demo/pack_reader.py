"""Reading the demo's image pack."""

import json
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from perennial import ImageFile

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
