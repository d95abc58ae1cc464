"""Images in groups: by metadata, in lists, and as near-duplicates."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from core import errors
from core.archives.rules import Path, folder_of, path_of, shown
from core.datasets.columns import FILES, WantedColumns
from core.datasets.manifests import ManifestEntry, Side, Split
from core.datasets.rules import DatasetImage, DatasetKind, Image
from core.values import Digest, sha256

# Groups of an update's training images, of which one at a time is left out.

LEAST_GROUPS, MOST_GROUPS = 2, 20


class Grouping(StrEnum):
    """The property that the images of a group share."""

    UPLOAD = "upload"  # the request or the import that brought them
    CLASS = "class"
    RANDOM = "random"  # nothing; but each group has its share of every class


@dataclass(frozen=True, kw_only=True)
class ImageGroup:
    """Some training images of an update."""

    name: str
    entries: tuple[ManifestEntry, ...]

    @property
    def pixels(self) -> tuple[Digest, ...]:
        """The images, sorted."""
        return tuple(sorted(entry.pixels for entry in self.entries))

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of images by class."""
        return dict(sorted(Counter(entry.class_name for entry in self.entries).items()))


def image_groups(
    entries: Sequence[ManifestEntry],
    by: Grouping,
    *,
    most: int,
    added_at: Mapping[Digest, datetime],
    seed: int,
) -> tuple[ImageGroup, ...]:
    """Divide images into at least two and at most `most` groups.

    Neighbouring uploads or classes share a group if there are more than `most` of them. Random
    groups depend on the images and the seed alone; near-duplicates are in the same one. `added_at`
    says when images came into their dataset. Raises FieldInvalid when there would be one group.
    """
    match by:
        case Grouping.UPLOAD:
            groups = list(_joined(_by_upload(entries, added_at), most))
        case Grouping.CLASS:
            groups = list(_joined(_by_class(entries), most))
        case Grouping.RANDOM:
            groups = list(_random(entries, most, seed))
    if len(groups) < LEAST_GROUPS:
        others = " or ".join(repr(one.value) for one in Grouping if one is not by)
        raise errors.FieldInvalid(
            f"By {by.value!r}, all training images are in one group, and nothing is left to learn "
            f"without it: choose {others}.",
            pointer="/by",
        )
    return tuple(groups)


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """Images that are never separated; of several, the first and the last name their group."""

    kinds: tuple[str, str]  # of one unit and of several
    label: str
    entries: tuple[ManifestEntry, ...]


def _by_upload(
    entries: Iterable[ManifestEntry], added_at: Mapping[Digest, datetime]
) -> Iterator[_Unit]:
    found: dict[datetime | None, list[ManifestEntry]] = {}
    for entry in entries:
        found.setdefault(added_at.get(entry.pixels), []).append(entry)
    for at in sorted(found, key=lambda at: at or datetime.min.replace(tzinfo=UTC)):
        label = at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else "unknown"
        yield _Unit(kinds=("upload", "uploads"), label=label, entries=tuple(found[at]))


def _by_class(entries: Iterable[ManifestEntry]) -> Iterator[_Unit]:
    found: dict[str, list[ManifestEntry]] = {}
    for entry in entries:
        found.setdefault(entry.class_name, []).append(entry)
    for name in sorted(found):
        yield _Unit(kinds=("class", "classes"), label=name, entries=tuple(found[name]))


def _joined(units: Iterable[_Unit], most: int) -> Iterator[ImageGroup]:
    """Yield a group for each unit; if they are too many, for neighbours of about equal size.

    The middle of a unit, among all images in order, decides which share of them it is in. The first
    and the last of several units are never in the same.
    """
    units = list(units)
    total = sum(len(unit.entries) for unit in units)
    shares: dict[int, list[_Unit]] = {}
    before = 0
    for index, unit in enumerate(units):
        size = len(unit.entries)
        share = index if len(units) <= most else most * (2 * before + size) // (2 * total)
        shares.setdefault(share, []).append(unit)
        before += size
    for together in shares.values():
        first, last = together[0], together[-1]
        one, several = first.kinds
        yield ImageGroup(
            name=f"{one} {first.label}"
            if first is last
            else f"{several} {first.label} to {last.label}",
            entries=tuple(entry for unit in together for entry in unit.entries),
        )


def _random(entries: Iterable[ManifestEntry], most: int, seed: int) -> Iterator[ImageGroup]:
    """Deal near-duplicates out together, class by class, in an order that is drawn by hash."""
    together: dict[Digest, list[ManifestEntry]] = {}
    for entry in entries:
        together.setdefault(entry.group, []).append(entry)
    drawn = sorted(
        together,
        key=lambda group: (together[group][0].class_name, sha256(f"{seed} {group}".encode())),
    )
    for number in range(min(most, len(drawn))):
        dealt = [entry for group in drawn[number::most] for entry in together[group]]
        yield ImageGroup(name=f"random {number + 1}", entries=tuple(dealt))


# Image lists: CSV or JSON Lines files that give images their classes or captions.


# Names of folders that divide images, or "" for none.
_SPLITS = frozenset(
    {"", "train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
)

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
    refusal: errors.Invalid | None = None


def read_image_list(
    listed: Path, data: bytes, kind: DatasetKind, wanted: WantedColumns
) -> Iterator[ListedImage]:
    """Yield the lines of an image list; files are named relative to its folder.

    Raises ImageListInvalid, and ArchiveUnsafe for a path that leads out of that folder.
    """
    number, names = 1, wanted.text_names(kind)
    try:
        whole = data.decode("utf-8-sig")
        rows = _csv_rows(whole) if listed[-1].lower().endswith(".csv") else _json_rows(whole)
        while (row := next(rows, None)) is not None:
            path = _listed_path(listed, _string(next(row[name] for name in FILES if row.get(name))))
            for text in texts_of(row, names, kind):
                yield ListedImage(path=path, text=text)
            number += 1
    except _UNREADABLE as error:
        raise errors.ImageListInvalid(
            f"Entry {number} of an image list cannot be read: a list is UTF-8, and each of its "
            f"entries has {' and '.join(map(repr, [FILES[0], *names[:1]]))}.",
            file=shown(listed),
            entry=number,
        ) from error


def name_files(
    files: Sequence[Path], listed: Sequence[ListedImage] | None, kind: DatasetKind
) -> Iterator[NamedFile]:
    """Yield the files of an archive with their texts.

    Without image lists (None), the folder that holds a file is its class, unless all folders have
    names of splits; an unlabelled one needs none. With lists, only they give texts, in their order:
    a file that is listed more often comes as often.
    """
    if listed is None:
        folders = {folder_of(path) or "" for path in files}
        has_classes = (
            kind is DatasetKind.LABELLED and not {one.lower() for one in folders} <= _SPLITS
        )
        for index, path in enumerate(files):
            folder = folder_of(path) if has_classes else None
            needs = folder is None and kind is not DatasetKind.UNLABELLED
            missing = errors.TextMissing() if needs else None
            yield NamedFile(path=path, index=index, text=folder or "", refusal=missing)
        return
    indices = {path: index for index, path in enumerate(files)}
    for row in listed:
        found = indices.get(row.path)
        absent = errors.FileMissing() if found is None else None
        yield NamedFile(path=row.path, index=found, text=row.text, refusal=absent)
    named = {indices.get(row.path) for row in listed}
    for index, path in enumerate(files):
        if index not in named:
            yield NamedFile(path=path, index=index, refusal=errors.TextMissing())


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


def row_path(table: Path, number: int, name: str, *, is_listed: bool) -> Path:
    """Return the path of an image that a row of a table holds or lists, under a file name.

    Raises ImageListInvalid for a listed one without a name, and ArchiveUnsafe.
    """
    if is_listed:
        try:
            return _listed_path(table, name)
        except ValueError as error:
            raise errors.ImageListInvalid(
                f"Row {number} of an image list names no file.", file=shown(table), entry=number
            ) from error
    file = re.split(r"[/\\]", name)[-1]
    return (*table, f"row {number}", *([file] if file else []))


def _listed_path(listed: Path, file: str) -> Path:
    """Return the path of a file that a list names. Raises ArchiveUnsafe, or ValueError for none."""
    path = path_of(file)
    if not path:
        raise ValueError
    return listed[:-1] + path


def texts_of(row: Mapping[str, object], names: Sequence[str], kind: DatasetKind) -> Sequence[str]:
    """Return the texts that the first present of some fields holds.

    Raises LookupError or TypeError if there are none.
    """
    if kind is DatasetKind.UNLABELLED:
        return [""]
    value = next(row[name] for name in names if row.get(name) not in (None, []))
    if isinstance(value, list) and value and kind is DatasetKind.CAPTIONED:
        return [_text(one) for one in value]
    return [_text(value)]


def _text(value: object) -> str:
    return _string(value).strip()[:MOST_TEXT]


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


# Near-duplicates: images so similar that they are always on the same side and part.

THUMBNAIL_SIDE = 8  # pixels; RGB, 8 bits a channel
# The largest distance between the thumbnails of near-duplicates: the fourth root of the mean fourth
# power of their differences, in levels of 0 to 255. JPEG at quality 75 stays below it for 99 of 100
# pictures; different photographs and garments were further apart in the measurements (ADR 15).
NEAR = 5.0


@dataclass(frozen=True, kw_only=True)
class SimilarImage:
    """A known image that a new one is similar to."""

    group: Digest  # the oldest image of its group
    distance: float  # levels, at most NEAR


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """Images of a dataset that are near-duplicates of each other."""

    group: Digest  # the oldest of them, maybe in another dataset
    count: int  # of images in the dataset
    rows: Sequence[DatasetImage]  # of the first of them, by pixels and text


def group_of(
    similar_images: Sequence[SimilarImage], placed: Mapping[Digest, Side], split: Split
) -> Digest | None:
    """Return the group of the most similar image, which a new one joins; None if there is none.

    Raises SplitConflict when the similar images are on different sides or in different parts: the
    new image would then leak from one to the other. Groups not in `placed` are on the side that
    `split` draws.
    """
    groups = {image.group for image in similar_images}
    where = {(placed.get(one, split.side_of(one)), split.part_of(one)) for one in groups}
    if len(where) > 1:
        raise errors.SplitConflict(near=sorted(groups))
    nearest = min(similar_images, key=lambda image: (image.distance, image.group), default=None)
    return nearest.group if nearest else None


ImageWithThumbnail = tuple[Image, str]  # an image with its thumbnail
