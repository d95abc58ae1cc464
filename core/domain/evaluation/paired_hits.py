"""Two versions' hits on the same query, answer by answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice

from core.domain.gate.intervals import Flips, design_effect


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
