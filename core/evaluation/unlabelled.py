"""Suites whose images are labelled only where two versions disagree about them.

Images with the same answer from both versions tell nothing of which is better. Of the others, the
first ones in an order by their pixels are a random sample, as long as none is left out. So labels
count up to the first disagreement without one, and nobody chooses which of them are counted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

from core.datasets.manifests import ManifestEntry, Split
from core.evaluation.queries import ClassAnswers, ClassQuery
from core.gate.measures import ClassList, Disagreements
from core.values import Digest


def in_order(entries: Iterable[ManifestEntry], split: Split) -> tuple[ManifestEntry, ...]:
    """Return images in the order in which they are labelled, one of each group that look alike.

    It is keyed, so that nobody adds images that are labelled first.
    """
    found: dict[Digest, ManifestEntry] = {}
    for entry in sorted(entries, key=lambda one: (split.turn_of(one.pixels), one.pixels)):
        found.setdefault(entry.group, entry)
    return tuple(found.values())


@dataclass(frozen=True, kw_only=True)
class UnlabelledEvaluation:
    """Two queries on the images of an unlabelled suite, which are in the fixed order.

    One has the suite's class list, the other the union with what the candidate has learned.
    `labels` are the labelled images, each with its class as text.
    """

    name: str
    own: ClassQuery
    union: ClassQuery
    labels: tuple[ManifestEntry, ...] = ()

    def over(self, asked: ClassList) -> ClassQuery:
        """Return the query over one of the lists."""
        return self.union if asked is ClassList.UNION else self.own

    @cached_property
    def classes(self) -> Mapping[Digest, str]:
        """The class of each labelled image, in lower case."""
        return {entry.pixels: entry.class_name.lower() for entry in self.labels}


@dataclass(frozen=True, kw_only=True)
class SampledHits:
    """Two versions' hits on the first disagreements, up to one that has no label."""

    images: int
    disagreed: int
    now: Sequence[bool]
    before: Sequence[bool]

    @property
    def disagreements(self) -> Disagreements:
        """The number of disagreements, and of those whose labels count."""
        return Disagreements(total=self.disagreed, labelled=len(self.now))

    @property
    def distinct(self) -> int:
        """The number of images for which the labels speak."""
        return self.images * len(self.now) // self.disagreed if self.disagreed else self.images

    def least(self, minimum_count: int) -> int:
        """Return how many labels it takes until the versions are compared.

        These speak for `minimum_count` images, or for all if there are fewer. Before that, whoever
        labels could stop where the first few labels happen to look well.
        """
        return ceil(min(minimum_count, self.images) * self.disagreed / self.images)

    def is_enough(self, minimum_count: int) -> bool:
        """Return whether so many disagreements are labelled that the versions are compared."""
        return len(self.now) >= self.least(minimum_count)


def sampled_hits(
    exam: UnlabelledEvaluation,
    query: ClassQuery,
    *,
    now: ClassAnswers,
    before: ClassAnswers,
    meanings: Mapping[str, str],
) -> SampledHits:
    """Return two versions' hits on one of the queries of an evaluation."""
    apart = [*disagreements(query, now, before, meanings)]
    hits: list[tuple[bool, bool]] = []
    for entry, *answers in apart:
        truth = exam.classes.get(entry.pixels)
        if truth is None:
            break
        new, old = (answer == meanings.get(truth, truth) for answer in answers)
        hits.append((new, old))
    return SampledHits(
        images=len(query.entries),
        disagreed=len(apart),
        now=[new for new, _ in hits],
        before=[old for _, old in hits],
    )


def disagreements(
    query: ClassQuery, now: ClassAnswers, before: ClassAnswers, meanings: Mapping[str, str]
) -> Iterator[tuple[ManifestEntry, str | None, str | None]]:
    """Yield the images about which two versions disagree, in order, each with both answers.

    Names that mean the same are one answer; None stands for scores without a best class.
    """
    lower = (name.lower() for name in query.classes)
    names: tuple[str | None, ...] = (*(meanings.get(name, name) for name in lower), None)
    rows = zip(query.entries, now.predicted, before.predicted, strict=True)
    for entry, new, old in rows:
        if names[new] != names[old]:
            yield entry, names[new], names[old]


def labelled_entries(
    entries: Iterable[ManifestEntry], labels: Mapping[Digest, str]
) -> tuple[ManifestEntry, ...]:
    """Return the images that have a label, with their class as text."""
    return tuple(
        replace(entry, texts=(labels[entry.pixels],)) for entry in entries if entry.pixels in labels
    )
