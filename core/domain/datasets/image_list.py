"""Image lists: CSV or JSON Lines files that give images their classes or captions."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.domain.datasets.archive_path import Path, folder_of, path_of, shown
from core.domain.datasets.dataset import DatasetKind
from core.errors import FileMissing, ImageListInvalid, Invalid, TextMissing

_FILE = ("file", "file_name", "path")
_WANTED = {
    DatasetKind.LABELLED: "'file' and 'class'",
    DatasetKind.CAPTIONED: "'file' and 'caption' or, in JSON, 'captions'",
}

# Lists come from clients, and what is read of them is kept until the images are named.
MOST_COLUMNS = 1_000  # of a CSV file
MOST_LINE = 1_000_000  # characters of a line of JSON
MOST_TEXT = 2_000  # characters of a text; classes and captions are shorter, or are refused

# What parsers and a wrong shape raise; a deep nesting ends in a RecursionError.
_UNREADABLE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    StopIteration,
    RecursionError,
    csv.Error,
)


@dataclass(frozen=True, kw_only=True)
class ListedImage:
    """A line of an image list: a file with its class, or with one of its captions."""

    path: Path
    text: str


@dataclass(frozen=True, kw_only=True)
class NamedFile:
    """A file of an archive with its text, or the reason why it has none."""

    path: Path
    index: int | None  # of the file in the archive; None: it is only listed
    text: str = ""
    refusal: Invalid | None = None


def read_image_list(listed: Path, data: bytes, kind: DatasetKind) -> Iterator[ListedImage]:
    """Yield the lines of an image list; files are named relative to its folder.

    Raises ImageListInvalid, and ArchiveUnsafe for a path that leads out of that folder.
    """
    number = 1
    try:
        whole = data.decode("utf-8-sig")
        rows = _csv_rows(whole) if listed[-1].lower().endswith(".csv") else _json_rows(whole)
        while (row := next(rows, None)) is not None:
            file = _string(next(row[name] for name in _FILE if row.get(name)))
            path = path_of(file)
            if not path:
                raise ValueError
            for text in _texts(row, kind):
                yield ListedImage(path=listed[:-1] + path, text=text)
            number += 1
    except _UNREADABLE as error:
        raise ImageListInvalid(
            f"Entry {number} of an image list cannot be read: a list is UTF-8, and each of its "
            f"entries has {_WANTED[kind]}.",
            file=shown(listed),
            entry=number,
        ) from error


def name_files(
    files: Sequence[Path], listed: Sequence[ListedImage] | None, kind: DatasetKind
) -> Iterator[NamedFile]:
    """Yield the files of an archive with their texts.

    Without image lists (None), the folder that holds a file is its class. With lists, only they
    give texts, in their order: a file that is listed more often comes as often.
    """
    if listed is None:
        for index, path in enumerate(files):
            folder = folder_of(path) if kind is DatasetKind.LABELLED else None
            missing = TextMissing() if folder is None else None
            yield NamedFile(path=path, index=index, text=folder or "", refusal=missing)
        return
    indices = {path: index for index, path in enumerate(files)}
    for row in listed:
        found = indices.get(row.path)
        absent = FileMissing() if found is None else None
        yield NamedFile(path=row.path, index=found, text=row.text, refusal=absent)
    named = {indices.get(row.path) for row in listed}
    for index, path in enumerate(files):
        if index not in named:
            yield NamedFile(path=path, index=index, refusal=TextMissing())


def _csv_rows(text: str) -> Iterator[Mapping[str, str]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if len(rows.fieldnames or ()) > MOST_COLUMNS:
        raise ValueError
    yield from rows


def _json_rows(text: str) -> Iterator[Mapping[str, object]]:
    for line in io.StringIO(text, newline="\n"):
        if len(line) > MOST_LINE:
            raise ValueError
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError
            yield row


def _texts(row: Mapping[str, object], kind: DatasetKind) -> Sequence[str]:
    """Return the texts of a line. Raises LookupError or TypeError if it has none."""
    if kind is DatasetKind.LABELLED:
        return [_text(row["class"])]
    several = row.get("captions")
    if isinstance(several, list) and several:
        return [_text(one) for one in several]
    return [_text(row["caption"])]


def _text(value: object) -> str:
    return _string(value).strip()[:MOST_TEXT]


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
