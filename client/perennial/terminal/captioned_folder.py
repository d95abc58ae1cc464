"""Reading of folders of images with classes or captions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perennial.terminal.class_folders import labelled_images
from perennial.terminal.failures import Failure
from perennial.types.evaluation.suites import SuiteKind

CAPTIONS = "captions.jsonl"


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
