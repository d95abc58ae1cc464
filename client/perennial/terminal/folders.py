"""Folders of images: one for each class, or one with captions."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perennial.terminal.session import Failure
from perennial.types import SuiteKind

CAPTIONS = "captions.jsonl"


def class_files(folder: Path, place: Callable[[Path], Path] = Path) -> list[tuple[str, Path]]:
    """Return the files <class>/<image> below a folder, each with its class.

    `place` is called for each class's folder and each file, and returns the path to read instead.
    """
    found = [
        (inner.name, place(path))
        for inner in sorted(folder.glob("*"))
        if inner.is_dir()
        for path in sorted(place(inner).glob("*"))
        if not path.name.startswith(".")
    ]
    return [(name, path) for name, path in found if path.is_file()]


def labelled_images(folder: Path) -> list[tuple[str, Path]]:
    """Return the files <class>/<image> below a folder, each with its class. Raises Failure."""
    found = class_files(folder)
    if not found:
        raise Failure(f"{folder} holds no <class>/<image> files.")
    return found


def any_images(folder: Path) -> list[tuple[str, Path]]:
    """Return all files below a folder, each with a name for its field. Raises Failure."""
    found = [
        ("image", path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]
    if not found:
        raise Failure(f"{folder} holds no file.")
    return found


def read_folder(folder: Path, kind: SuiteKind) -> list[tuple[str, Path]]:
    """Return the images of a folder: by its captions.jsonl if it has one, else <class>/<image>.

    Each comes with its class or one of its captions. If a line of the list holds both, the kind
    of suite decides. Raises Failure when there is neither, or for a line that cannot be read.
    """
    listed = folder / CAPTIONS
    found = list(_by_lines(folder, listed, kind)) if listed.is_file() else labelled_images(folder)
    if not found:
        raise Failure(f"{listed} lists no image.")
    return found


def _by_lines(folder: Path, listed: Path, kind: SuiteKind) -> Iterator[tuple[str, Path]]:
    for number, line in enumerate(listed.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            path = folder / row["path"]
            texts = _texts(row, kind)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failure(
                f"{listed} line {number}: wanted 'path' and 'class', 'caption' or 'captions'."
            ) from error
        if not path.is_file():
            raise Failure(f"{listed} line {number}: there is no file {path}.")
        for text in texts:
            yield str(text), path


def _texts(row: dict[str, Any], kind: SuiteKind) -> list[str]:
    """Return a line's class or its captions, as the kind asks if the line has both.

    Raises KeyError if `caption` is missing.
    """
    name = row.get("class") or row.get("cls")
    captions = row.get("captions") or ([row["caption"]] if "caption" in row or not name else [])
    return [name] if name and (kind == "zero_shot" or not captions) else captions
