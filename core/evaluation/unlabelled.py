"""Suites whose images are labelled only where two versions disagree about them.

Images with the same answer from both versions tell nothing of which is better. Of the others, the
first ones in an order by their pixels are a random sample, as long as none is left out. So labels
count up to the first disagreement without one, and only at a few fixed numbers of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

from core.datasets.manifests import ManifestEntry, Split
from core.evaluation.answers import ClassAnswers
from core.evaluation.queries import ClassQuery
from core.gate.changes import Disagreements
from core.gate.kinds import ClassList
from core.gate.levels import label_counts, label_share
from core.values import Digest, SuiteId


def in_order(
    entries: Iterable[ManifestEntry], split: Split, suite: SuiteId
) -> tuple[ManifestEntry, ...]:
    """Return images in the order in which they are labelled, one of each group that look alike.

    It is keyed, with the suite too, so that nobody can choose which images are labelled first.
    """
    found: dict[Digest, ManifestEntry] = {}
    for entry in sorted(entries, key=lambda one: (split.turn_of(one.pixels, suite), one.pixels)):
        found.setdefault(entry.group, entry)
    return tuple(found.values())


@dataclass(frozen=True, kw_only=True)
class UnlabelledExam:
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


# Whether the new and the old version are right; None for an image that shows none of the classes.
Hit = tuple[bool, bool] | None


@dataclass(frozen=True, kw_only=True)
class SampledHits:
    """Two versions' hits on the first disagreements, up to one that has no label."""

    images: int
    disagreed: int
    minimum_count: int
    given: Sequence[Hit]

    @cached_property
    def counts(self) -> Sequence[int]:
        """The numbers of labels by which the versions may be compared, smallest first."""
        least = ceil(min(self.minimum_count, self.images) * self.disagreed / self.images)
        return label_counts(self.disagreed, least)

    @cached_property
    def counted(self) -> int | None:
        """The largest of these that is labelled; None if the versions are not compared yet.

        Less than all have to speak for `minimum_count` images that show a class, all for one.
        """
        enough = (
            count
            for count in self.counts
            if count <= len(self.given)
            and self._speak_for(count) >= (1 if count == self.disagreed else self.minimum_count)
        )
        return max(enough, default=None)

    @property
    def is_enough(self) -> bool:
        """True if so many disagreements are labelled that the versions are compared."""
        return self.counted is not None

    @property
    def wanted(self) -> int:
        """The next number of labels by which the versions may be compared."""
        more = (count for count in self.counts if count > len(self.given))
        return next(more, self.disagreed)

    @property
    def hits(self) -> Sequence[tuple[bool, bool]]:
        """The counted hits, on images that show a class."""
        return [hit for hit in self.given[: self.counted or 0] if hit]

    @property
    def disagreements(self) -> Disagreements:
        """The number of disagreements, and of those whose labels count."""
        labelled = self.counted or 0
        return Disagreements(
            total=self.disagreed,
            labelled=labelled,
            none=labelled - len(self.hits),
            level_share=label_share(self.counts, labelled) if self.is_enough else 1.0,
        )

    @property
    def distinct(self) -> int:
        """The number of images for which the labels speak."""
        return self._speak_for(self.counted or 0)

    def _speak_for(self, count: int) -> int:
        shown = sum(hit is not None for hit in self.given[:count])
        return self.images * shown // self.disagreed if self.disagreed else self.images


def sampled_hits(
    exam: UnlabelledExam,
    query: ClassQuery,
    *,
    now: ClassAnswers,
    before: ClassAnswers,
    meanings: Mapping[str, str],
    minimum_count: int,
) -> SampledHits:
    """Return two versions' hits on one of the queries of an exam."""
    apart = [*disagreements(query, now, before, meanings)]
    shown = {name.lower() for name in exam.own.classes}
    given: list[Hit] = []
    for entry, new, old in apart:
        truth = exam.classes.get(entry.pixels)
        if truth is None:
            break
        meant = meanings.get(truth, truth)
        given.append((new == meant, old == meant) if truth in shown else None)
    return SampledHits(
        images=len(query.entries),
        disagreed=len(apart),
        minimum_count=minimum_count,
        given=given,
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
