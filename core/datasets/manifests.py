"""Manifests: the images of a dataset version, each on a side and in a part of the split."""

import hmac
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import comb, sqrt
from typing import Any

from core.datasets.rules import DatasetImage, DatasetKind, Image
from core.errors import DatasetEmpty, HoldoutBiased, TooFewPerClass
from core.values import Digest, Json, SuiteId, canonical_json, sha256

# The split of images into sides and parts, the same in every dataset.

HOLDOUT_SHARE = 0.2
VALIDATION_SHARE = 0.2
FAIR = 3.1  # standard deviations: one fair draw in a thousand is lower
SPLIT_RULE = (  # as `held_out_of` has it
    "About a fifth of each class is held out, to measure what was learned: a tenth to three "
    "tenths, at least one of four images, none of two."
)


class Side(StrEnum):
    """The sides of a dataset version."""

    TRAIN = "train"
    HOLDOUT = "holdout"


class Part(StrEnum):
    """The parts of a suite or holdout: one for selection, one for verdicts."""

    VALIDATION = "validation"
    TEST = "test"


def held_out_of(images: int) -> tuple[int, int]:
    """Return the fewest and the most images that are held out of a class of so many."""
    most = max(3 * images // 10, min(1, images // 3))
    return (max(1, images // 10) if images > 3 else 0), most


def _drawn(groups: int, most: int) -> tuple[float, float]:
    """Return mean and variance of how many of some groups their hashes hold out, `most` at most."""
    share = HOLDOUT_SHARE
    if groups > 100:  # so that the most, three tenths, is hardly ever reached
        return share * groups, share * (1 - share) * groups
    chances = [
        comb(groups, held) * share**held * (1 - share) ** (groups - held) for held in range(most)
    ]
    chances.append(1 - sum(chances))
    mean = sum(held * chance for held, chance in enumerate(chances))
    return mean, sum((held - mean) ** 2 * chance for held, chance in enumerate(chances))


# An image of a dataset, its group of near-duplicates, and its class or one of its captions.
Member = tuple[Digest, Digest, str]


@dataclass(frozen=True, kw_only=True)
class Split:
    """The draw of sides and parts: a hash of each group, keyed with the installation's secret.

    Whoever uploads an image could otherwise change the least bit of a pixel until it falls where
    they want it. Without a key, digests alone decide, the same everywhere.
    """

    key: str = field(default="", repr=False)

    @property
    def estimate(self) -> "Split":
        """A split that draws others: what may be said before images are placed, not which ones."""
        return Split(key=self.key and f"estimate {self.key}")

    def side_of(self, group: Digest) -> Side:
        """Return the side of a group of near-duplicates unless the shares of its classes forbid it.

        A group is identified by the pixels of its oldest image; an image without near-duplicates is
        a group of one.
        """
        return Side.HOLDOUT if self._share(group, "side") < HOLDOUT_SHARE else Side.TRAIN

    def part_of(self, group: Digest) -> Part:
        """Return the part of a suite or holdout that a group is in, independent of its side."""
        return Part.VALIDATION if self._share(group, "part") < VALIDATION_SHARE else Part.TEST

    def turn_of(self, image: Digest, suite: SuiteId) -> float:
        """Return the place of an image in the order in which an unlabelled suite is labelled.

        It is drawn anew for each suite: whoever sees the order of one could otherwise choose images
        that another one would ask about last.
        """
        return self._share(image, f"turn in {suite}")

    def sides(
        self, members: Iterable[Member], placed: Mapping[Digest, Side], *, labelled: bool
    ) -> dict[Digest, Side]:
        """Return the side of each group in a dataset.

        Groups in `placed` stay where they are. The others are taken by the hash that `side_of`
        reads, lowest first. One is held out if its hash says so or a class of its images has too
        few held out, unless a class would then have too many. Captioned images are one class.
        """
        images = {(pixels, group, text if labelled else "") for pixels, group, text in members}
        bounds = {
            name: held_out_of(count) for name, count in Counter(name for *_, name in images).items()
        }
        groups: dict[Digest, Counter[str]] = {}
        for _, group, name in images:
            groups.setdefault(group, Counter())[name] += 1
        sides = {group: placed[group] for group in groups if group in placed}
        held: Counter[str] = Counter()
        for group, side in sides.items():
            held.update(groups[group] if side is Side.HOLDOUT else ())
        left = groups.keys() - sides.keys()
        for group in sorted(left, key=lambda one: (self._share(one, "side"), one)):
            counts = groups[group]
            wanted = self.side_of(group) is Side.HOLDOUT
            wanted = wanted or any(held[name] < bounds[name][0] for name in counts)
            fits = all(held[name] + count <= bounds[name][1] for name, count in counts.items())
            sides[group] = Side.HOLDOUT if wanted and fits else Side.TRAIN
            held.update(counts if wanted and fits else ())
        return sides

    def _share(self, group: Digest, purpose: str) -> float:
        """Return a number in [0, 1) that depends on the key, the group and the purpose alone."""
        text = f"{purpose}:{group}".encode()
        hashed = sha256(text)
        if self.key:
            hashed = Digest(hmac.new(self.key.encode(), text, "sha256").hexdigest())
        return int(hashed[:13], 16) / 16**13


# Manifests, the exact images of dataset versions and suites.

MIN_TRAIN_PER_CLASS = 2


@dataclass(frozen=True, kw_only=True)
class ManifestEntry:
    """One line of a manifest: an image, its stored bytes, its class or captions."""

    pixels: Digest
    artifact: Digest
    texts: tuple[str, ...]
    near_duplicate_of: Digest | None = None  # the oldest image of its group; None if this is it
    side: Side = Side.TRAIN
    part: Part = Part.TEST  # as an image of a suite or holdout
    edition: int = 1  # of a suite, with which it came

    @property
    def group(self) -> Digest:
        """The group of near-duplicates it belongs to, identified by the oldest image."""
        return self.near_duplicate_of or self.pixels

    @property
    def class_name(self) -> str:
        """The class of an image in a labelled dataset; empty in an unlabelled one."""
        return self.texts[0]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The exact images of a dataset version or suite, sorted; its digest names them."""

    kind: DatasetKind
    entries: tuple[ManifestEntry, ...]

    @classmethod
    def of(
        cls,
        kind: DatasetKind,
        images: Iterable[DatasetImage],
        placed: Mapping[Digest, Side],
        split: Split,
    ) -> "Manifest":
        """Return the manifest of a dataset's present images; `placed` groups keep their sides.

        Raises DatasetEmpty.
        """
        texts: dict[Digest, list[str]] = {}
        found: dict[Digest, Image] = {}
        for row in images:
            texts.setdefault(row.image.pixels, []).append(row.text)
            found[row.image.pixels] = row.image
        if not texts:
            raise DatasetEmpty
        members = (
            (pixels, found[pixels].group, text) for pixels, held in texts.items() for text in held
        )
        sides = split.sides(members, placed, labelled=kind is DatasetKind.LABELLED)
        return cls(
            kind=kind,
            entries=tuple(
                ManifestEntry(
                    pixels=pixels,
                    artifact=found[pixels].artifact,
                    texts=tuple(sorted(texts[pixels])),
                    near_duplicate_of=found[pixels].near_duplicate_of,
                    side=sides[found[pixels].group],
                    part=split.part_of(found[pixels].group),
                )
                for pixels in sorted(texts)
            ),
        )

    def without(self, pixels: Collection[Digest]) -> "Manifest":
        """Return the manifest without some images; maybe without any."""
        kept = tuple(entry for entry in self.entries if entry.pixels not in pixels)
        return replace(self, entries=kept)

    @property
    def classes(self) -> tuple[str, ...]:
        """All class names, sorted (empty without labels)."""
        if self.kind is not DatasetKind.LABELLED:
            return ()
        return tuple(sorted({entry.class_name for entry in self.entries}))

    def on(self, side: Side) -> tuple[ManifestEntry, ...]:
        """Return the entries on one side."""
        return tuple(entry for entry in self.entries if entry.side is side)

    def sides(self) -> dict[Digest, Side]:
        """Return the side of each group."""
        return {entry.group: entry.side for entry in self.entries}

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the images per class and side: `{class: {"train": n, "holdout": m}}`."""
        found = Counter((entry.class_name, entry.side) for entry in self.entries)
        return {name: {side.value: found[name, side] for side in Side} for name in self.classes}

    def drawn_holdout(self, split: Split) -> tuple[ManifestEntry, ...]:
        """Return the held-out entries without those that other datasets have placed there.

        A class of four images holds one out. So whoever adds an image to three that are on the
        training side already holds it out, whatever its hash. An entry stays if its own hash, or a
        draw of these images alone, would hold it out.
        """
        held = self.on(Side.HOLDOUT)
        forced = {one.group for one in held if split.side_of(one.group) is Side.TRAIN}
        if not forced:
            return held
        labelled = self.kind is DatasetKind.LABELLED
        drawn = split.sides(self._members(), {}, labelled=labelled)
        return tuple(
            one for one in held if one.group not in forced or drawn[one.group] is Side.HOLDOUT
        )

    def require_fair_holdout(self, split: Split) -> None:
        """Raise HoldoutBiased if fewer groups are held out by their hashes than chance explains.

        That is so where other datasets, of classes too small to hold any out, have placed images on
        the training side, or where held-out ones were taken away. Large groups of near-duplicates,
        for which a class may have no room, do not count; one of several classes counts in one. The
        number of the others is binomial, up to the most that a class holds out; it is too low if it
        is below two thirds of its mean and more than `FAIR` standard deviations below it.
        """
        sizes = Counter((name, group) for _, group, name in self._members())
        images = Counter[str]()
        for (name, _), size in sizes.items():
            images[name] += size
        counting: dict[str, Counter[Digest]] = {name: Counter() for name in images}
        counted = set[Digest]()
        for (name, group), size in sizes.items():
            if group not in counted and size <= max(1, held_out_of(images[name])[1] // 4):
                counting[name][group] = size
                counted.add(group)
        mean = variance = 0.0
        for name, groups in counting.items():
            most = held_out_of(images[name])[1] * len(groups) // max(1, groups.total())
            one, spread = _drawn(len(groups), min(most, len(groups)))
            mean, variance = mean + one, variance + spread
        sides = self.sides()
        held = sum(
            sides[group] is Side.HOLDOUT and split.side_of(group) is Side.HOLDOUT
            for group in counted
        )
        if held < min(mean * 2 / 3, mean - FAIR * sqrt(variance)):
            raise HoldoutBiased(
                f"Of the images that the split holds out of these classes, {held} are held out, "
                f"where about {mean:.0f} would be by chance: they could not show fairly what is "
                "learned. The others were placed on the training side by a version of another "
                "dataset, with classes too small to hold any out, or were taken out of this one. "
                "Add other images, or those that are missing.",
                held_out=held,
                expected=round(mean),
            )

    def _members(self) -> list[Member]:
        """Return each image with its group and its class; captioned images are of one class."""
        labelled = self.kind is DatasetKind.LABELLED
        return [(one.pixels, one.group, one.texts[0] if labelled else "") for one in self.entries]

    def require_trainable(self) -> None:
        """Raise TooFewPerClass unless every class has enough images on the training side."""
        least = MIN_TRAIN_PER_CLASS
        poor = {
            name: sides["train"] for name, sides in self.counts().items() if sides["train"] < least
        }
        if poor:
            raise TooFewPerClass(
                f"These classes have fewer than {least} training images: "
                f"{', '.join(sorted(poor))}. {SPLIT_RULE}",
                classes=poor,
                least=least,
            )

    def to_bytes(self) -> bytes:
        """Return the canonical JSON whose SHA-256 is this manifest's digest."""
        return canonical_json(
            {
                "kind": self.kind.value,
                "entries": [_to_json(entry) for entry in self.entries],
            }
        )

    @classmethod
    def from_json(cls, value: Json) -> "Manifest":
        """Return the manifest whose JSON `to_bytes` wrote."""
        return cls(
            kind=DatasetKind(value["kind"]),
            entries=tuple(
                ManifestEntry(
                    pixels=pixels,
                    artifact=artifact,
                    texts=tuple(texts),
                    near_duplicate_of=oldest,
                    side=Side.HOLDOUT if held_out else Side.TRAIN,
                    part=Part.VALIDATION if selects else Part.TEST,
                    edition=edition[0] if edition else 1,
                )
                for pixels, artifact, texts, oldest, held_out, selects, *edition in value["entries"]
            ),
        )


def _to_json(entry: ManifestEntry) -> list[Any]:
    later = [entry.edition][: entry.edition > 1]
    drawn = [int(entry.side is Side.HOLDOUT), int(entry.part is Part.VALIDATION), *later]
    return [entry.pixels, entry.artifact, list(entry.texts), entry.near_duplicate_of, *drawn]


def validation_of(manifest: Digest) -> Digest:
    """Return the digest that stands for the validation part of a manifest's images.

    It is marked if an image of that part was erased; the manifest itself, if it teaches one.
    """
    return sha256(f"validation of {manifest}".encode())


# Counts of a dataset's images: by class and side, and by near-duplicates.


@dataclass(frozen=True, kw_only=True)
class DatasetStatistics:
    """Counts of a dataset's present images, on the sides that a version frozen now may have.

    Those of groups that are not placed yet are drawn by another split, or the counts would tell
    whoever adds or changes an image on which side it will be.
    """

    sides: Mapping[Side, int]
    classes: Mapping[str, Mapping[Side, int]]  # of a labelled dataset
    near_duplicates: int  # images with an older near-duplicate, here or in another dataset
    groups: int  # of near-duplicates of which the dataset holds at least two

    @classmethod
    def of(
        cls,
        members: Iterable[Member],
        placed: Mapping[Digest, Side],
        split: Split,
        *,
        labelled: bool,
    ) -> "DatasetStatistics":
        """Count images; those of a captioned dataset may come several times and count once."""
        members = list(members)
        side_of_group = split.estimate.sides(members, placed, labelled=labelled)
        groups: dict[Digest, Digest] = {}
        classes: dict[str, Counter[Side]] = {}
        for pixels, group, text in members:
            groups[pixels] = group
            if labelled:
                classes.setdefault(text, Counter())[side_of_group[group]] += 1
        sizes = Counter(groups.values())
        sides: Counter[Side] = Counter()
        for group, size in sizes.items():
            sides[side_of_group[group]] += size
        return cls(
            sides={side: sides[side] for side in Side},
            classes={
                name: {side: classes[name][side] for side in Side} for name in sorted(classes)
            },
            near_duplicates=sum(pixels != group for pixels, group in groups.items()),
            groups=sum(size > 1 for size in sizes.values()),
        )

    @property
    def images(self) -> int:
        """The number of images."""
        return sum(self.sides.values())
