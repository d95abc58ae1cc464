"""Two versions' hits on the same query, answer by answer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice

from core.domain.evaluation.query import ClassAnswers, ClassQuery, RetrievalAnswers, RetrievalQuery
from core.domain.gate.intervals import Flips, design_effect
from core.domain.gate.measure import MeasureKind
from core.domain.values import Digest


@dataclass(frozen=True, kw_only=True)
class PairedHits:
    """The hits of the candidate and of a baseline."""

    now: Sequence[bool]
    before: Sequence[bool]
    sizes: Sequence[int] | None = None  # answers per image; None: one each

    @property
    def formerly_right(self) -> "PairedHits":
        """The answers that the baseline had right; images without such an answer are left out."""
        hits = iter(self.before)
        sizes = self.sizes and [right for size in self.sizes if (right := sum(islice(hits, size)))]
        return PairedHits(
            now=list(compress(self.now, self.before)),
            before=list(filter(None, self.before)),
            sizes=sizes,
        )

    def design_effect(self, alpha: float) -> float:
        """Return the factor by which answers that share an image inflate the variance."""
        if self.sizes is None:
            return 1.0
        return design_effect(clusters(self.now, self.before, self.sizes), alpha)


def top_1(query: ClassQuery, *, now: ClassAnswers, before: ClassAnswers) -> PairedHits:
    """Return the hits on a query for classes."""
    return PairedHits(now=now.hits(query), before=before.hits(query))


def recall_at_1(
    query: RetrievalQuery, *, now: RetrievalAnswers, before: RetrievalAnswers
) -> Iterator[tuple[MeasureKind, PairedHits]]:
    """Yield the hits at rank 0 in both directions of retrieval."""
    yield (
        MeasureKind.IMAGE_TO_TEXT,
        PairedHits(now=_first(now.image_ranks), before=_first(before.image_ranks)),
    )
    yield (
        MeasureKind.TEXT_TO_IMAGE,
        PairedHits(
            now=_first(now.caption_ranks),
            before=_first(before.caption_ranks),
            sizes=[len(entry.texts) for entry in query.entries],
        ),
    )


def _first(ranks: Sequence[int]) -> list[bool]:
    return [rank == 0 for rank in ranks]


def pooled(parts: Iterable[tuple[ClassQuery, PairedHits]]) -> PairedHits:
    """Return the hits on several queries as those on one.

    An image in more than one of them counts once, with the class that was taught last.
    """
    found: dict[Digest, tuple[bool, bool]] = {}
    for query, hits in parts:
        for entry, now, before in zip(query.entries, hits.now, hits.before, strict=True):
            found[entry.pixels] = (now, before)
    return PairedHits(
        now=[now for now, _ in found.values()], before=[before for _, before in found.values()]
    )


def clusters(now: Sequence[bool], before: Sequence[bool], sizes: Sequence[int]) -> Iterator[Flips]:
    """Yield the flips of each image's captions; `sizes` are the numbers of captions per image."""
    start = 0
    for size in sizes:
        end = start + size
        pairs = list(zip(now[start:end], before[start:end], strict=True))
        yield Flips(
            count=size,
            gained=sum(new and not old for new, old in pairs),
            lost=sum(old and not new for new, old in pairs),
        )
        start = end
