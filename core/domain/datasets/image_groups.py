"""Groups of an update's training images, of which one at a time is left out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from core.domain.datasets.manifest import ManifestEntry
from core.domain.values import Digest, sha256
from core.errors import FieldInvalid

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
        raise FieldInvalid(
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
