"""The measures of a comparison: the gate's paired statistics, without tolerances."""

from collections.abc import Iterator, Sequence

from core.domain.comparison.answered_query import AnsweredQuery
from core.domain.evaluation.paired_hits import PairedHits
from core.domain.gate.measure import Measure, MeasureKind
from core.domain.values import Digest


def measures(answered: Sequence[AnsweredQuery], *, before: int, alpha: float) -> Iterator[Measure]:
    """Yield the measures of each query: all answers, then those that were right before.

    Several holdouts are also measured together, where an image counts once.
    """
    for one in answered:
        images = len(one.asked.query.entries)
        for kind, hits in _hits(one):
            yield _measure(kind, one.asked.name, before, hits, images, alpha)
            if any(hits.before):
                right = hits.formerly_right
                yield _measure(kind, one.asked.name, before, right, images, alpha, flips=True)
    holdouts = [one for one in answered if one.asked.holdout]
    if len(holdouts) > 1:
        pooled = _pooled(holdouts)
        name, images = f"{len(holdouts)} updates", len(pooled.now)
        yield _measure(MeasureKind.HOLDOUTS, name, before, pooled, images, alpha)


def _measure(
    kind: MeasureKind,
    name: str,
    before: int,
    hits: PairedHits,
    images: int,
    alpha: float,
    *,
    flips: bool = False,
) -> Measure:
    return Measure.of(
        kind,
        name=name,
        baseline=f"version {before}",
        baseline_version=before,
        tolerance=0.0,  # unused: nothing is judged
        images=images,
        now=hits.now,
        before=hits.before,
        design_effect=hits.design_effect(alpha),
        alpha=alpha,
        formerly_right=flips,
    )


def _hits(one: AnsweredQuery) -> Iterator[tuple[MeasureKind, PairedHits]]:
    if one.classes is not None:
        query, before, now = one.classes
        yield one.asked.kind, PairedHits(now=now.hits(query), before=before.hits(query))
    if one.captions is not None:
        captioned, old, new = one.captions
        yield (
            MeasureKind.IMAGE_TO_TEXT,
            PairedHits(now=_first(new.image_ranks), before=_first(old.image_ranks)),
        )
        yield (
            MeasureKind.TEXT_TO_IMAGE,
            PairedHits(
                now=_first(new.caption_ranks),
                before=_first(old.caption_ranks),
                sizes=[len(entry.texts) for entry in captioned.entries],
            ),
        )


def _first(ranks: Sequence[int]) -> list[bool]:
    return [rank == 0 for rank in ranks]


def _pooled(holdouts: Sequence[AnsweredQuery]) -> PairedHits:
    """Return the hits on several holdouts; of an image in several of them, the last counts."""
    hits: dict[Digest, tuple[bool, bool]] = {}
    for one in holdouts:
        if one.classes is None:
            continue
        query, before, now = one.classes
        pairs = zip(now.hits(query), before.hits(query), strict=True)
        hits.update(zip((entry.pixels for entry in query.entries), pairs, strict=True))
    return PairedHits(
        now=[now for now, _ in hits.values()], before=[old for _, old in hits.values()]
    )
