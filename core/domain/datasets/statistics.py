"""Counts of a dataset's images: by class and side, and by near-duplicates."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.domain.datasets.split import Side, side_of
from core.domain.values import Digest


@dataclass(frozen=True, kw_only=True)
class Member:
    """An image of a dataset, its group of near-duplicates, and its class or one of its captions."""

    pixels: Digest
    group: Digest
    text: str


@dataclass(frozen=True, kw_only=True)
class DatasetStatistics:
    """Counts of a dataset's present images."""

    sides: Mapping[Side, int]
    classes: Mapping[str, Mapping[Side, int]]  # of a labelled dataset
    near_duplicates: int  # images with an older near-duplicate, here or in another dataset
    groups: int  # of near-duplicates of which the dataset holds at least two

    @classmethod
    def of(cls, members: Iterable[Member], *, labelled: bool) -> "DatasetStatistics":
        """Count images; those of a captioned dataset may come several times and count once."""
        groups: dict[Digest, Digest] = {}
        classes: dict[str, Counter[Side]] = {}
        for member in members:
            groups[member.pixels] = member.group
            if labelled:
                classes.setdefault(member.text, Counter())[side_of(member.group)] += 1
        sizes = Counter(groups.values())
        sides: Counter[Side] = Counter()
        for group, size in sizes.items():
            sides[side_of(group)] += size
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
