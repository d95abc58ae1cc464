"""The queries of a version's calibration: images of known classes, and class lists."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from core.datasets.manifests import ManifestEntry, Part
from core.recipes.fields import PromptTemplate
from core.recipes.rules import distinct
from core.rejection.rules import MIN_IMAGES
from core.values import Digest, ModelId, canonical_json, sha256

MOST_IMAGES = 2000  # of a source and part: enough for an interval of 2 points
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, kw_only=True)
class CalibrationSource:
    """Images of classes that exclude each other, in both parts; every entry's is in `classes`."""

    name: str
    entries: tuple[ManifestEntry, ...]
    classes: tuple[str, ...]  # each once, whatever its case
    prompt: PromptTemplate

    def on(self, part: Part) -> tuple[ManifestEntry, ...]:
        """Return the images of one part."""
        return tuple(entry for entry in self.entries if entry.part is part)


@dataclass(frozen=True, kw_only=True)
class CalibrationQuery:
    """A query for the thresholds below which images show none of the given classes."""

    sources: tuple[CalibrationSource, ...]

    @property
    def entries(self) -> tuple[ManifestEntry, ...]:
        """The images of all sources."""
        return tuple(entry for source in self.sources for entry in source.entries)

    @cached_property
    def digest(self) -> Digest:
        """Identifies the query by images in order, classes and prompts."""
        rows = [
            [
                source.name,
                [[entry.pixels, entry.class_name] for entry in source.entries],
                list(source.classes),
                source.prompt.text,
            ]
            for source in self.sources
        ]
        return sha256(canonical_json(["calibration", rows]))


def newest_of_root(model: ModelId) -> Digest:
    """Return the key under which the newest calibration of a model's root is stored too.

    A root has no report. With this it keeps the thresholds that were measured last, whatever
    becomes of the suites. Models that were imported from the same weights have one each.
    """
    return sha256(canonical_json(["newest calibration of a root", model]))


def list_sizes(classes: int) -> tuple[int, ...]:
    """Return the lengths of class lists to calibrate, up to all classes but one."""
    longest = classes - 1
    return tuple(size for size in SIZES if size < longest) + ((longest,) if longest else ())


def circle_of(classes: Sequence[str]) -> tuple[int, ...]:
    """Return the places of classes in the order of their names' digests, which is random."""
    return tuple(
        sorted(range(len(classes)), key=lambda place: sha256(classes[place].lower().encode()))
    )


def list_starts(image: Digest, at: int, size: int, count: int) -> tuple[int, int]:
    """Return where two lists of one length start on a circle of `count` classes.

    The image's own class stands at `at`. The first list has the class, and the second has not; all
    such lists are equally likely. A list goes on from its start, and over the end of the circle.
    One of each kind, because an image's scores for several lists are not independent.
    """
    drawn = int(sha256(f"{image} {size}".encode())[:13], 16)
    within, without = drawn % size, drawn % (count - size)
    return (at - within) % count, (at + 1 + without) % count


def source_of(
    name: str, entries: Iterable[ManifestEntry], classes: Iterable[str], prompt: PromptTemplate
) -> CalibrationSource | None:
    """Return a source of up to `MOST_IMAGES` images in each part, or None if it has too few.

    Images of other classes are left out. Of near-duplicates, or an image that is there twice, the
    last counts.
    """
    known = distinct(classes)
    names = {one.lower() for one in known}
    by_group = {entry.group: entry for entry in entries if entry.class_name.lower() in names}
    images = [by_group[group] for group in sorted(by_group)]  # in an order that is random
    parts = [[entry for entry in images if entry.part is part] for part in Part]
    if len(known) < 2 or min(map(len, parts)) < MIN_IMAGES:
        return None
    kept = tuple(entry for part in parts for entry in part[:MOST_IMAGES])
    return CalibrationSource(name=name, entries=kept, classes=known, prompt=prompt)
