"""The measures of a comparison: the gate's paired statistics, without tolerances."""

from collections.abc import Iterator, Sequence

from core.domain.comparison.answered_query import AnsweredQuery
from core.domain.evaluation.paired_hits import PairedHits, pooled, recall_at_1, top_1
from core.domain.gate.measure import Measure, MeasureKind


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
    holdouts = [one.classes for one in answered if one.asked.holdout and one.classes]
    if len(holdouts) > 1:
        together = pooled((query, top_1(query, now=n, before=b)) for query, b, n in holdouts)
        name, images = f"{len(holdouts)} updates", len(together.now)
        yield _measure(MeasureKind.HOLDOUTS, name, before, together, images, alpha)


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
        yield one.asked.kind, top_1(query, now=now, before=before)
    if one.captions is not None:
        captioned, old, new = one.captions
        yield from recall_at_1(captioned, now=new, before=old)
