"""Reading of folders of images with classes or captions."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.domain.datasets.suite import SuiteKind
from core.domain.values import Json
from core.errors import FieldInvalid

CAPTIONS = "captions.jsonl"


@dataclass(frozen=True, kw_only=True)
class FolderImage:
    """An image file with its class, or with one of its captions."""

    path: Path
    text: str


def read_folder(folder: Path, kind: SuiteKind) -> Sequence[FolderImage]:
    """Return all images of a folder: by its captions.jsonl if it has one, else <class>/<image>.

    If a line holds both a class (`class` or `cls`) and captions, the kind of suite decides.

    Raises FieldInvalid when there is neither, or for a line that cannot be read.
    """
    listed = folder / CAPTIONS
    found = list(_by_lines(folder, listed, kind) if listed.is_file() else _by_subfolders(folder))
    if not found:
        raise FieldInvalid(f"{folder} holds neither <class>/<image> files nor a {CAPTIONS}.")
    return found


def _by_subfolders(folder: Path) -> Iterator[FolderImage]:
    if not folder.is_dir():
        raise FieldInvalid(f"There is no folder {folder}.")
    for path in sorted(folder.glob("*/*")):
        if path.is_file() and not path.name.startswith("."):
            yield FolderImage(path=path, text=path.parent.name)


def _by_lines(folder: Path, listed: Path, kind: SuiteKind) -> Iterator[FolderImage]:
    for number, line in enumerate(listed.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            path = folder / row["path"]
            texts = _texts(row, kind)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FieldInvalid(
                f"{listed} line {number}: wanted 'path' and 'class', 'caption' or 'captions'."
            ) from error
        if not path.is_file():
            raise FieldInvalid(f"{listed} line {number}: there is no file {path}.")
        for text in texts:
            yield FolderImage(path=path, text=str(text))


def _texts(row: Json, kind: SuiteKind) -> list[str]:
    """Return a line's class or its captions, as the kind asks if the line has both.

    Raises KeyError if `caption` is missing.
    """
    name = row.get("class") or row.get("cls")
    captions = row.get("captions") or ([row["caption"]] if "caption" in row or not name else [])
    return [name] if name and (kind is SuiteKind.ZERO_SHOT or not captions) else captions
