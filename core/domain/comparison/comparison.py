"""The comparison of two versions of a model by what both have answered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.domain.comparison.answered_query import AnsweredQuery
from core.domain.comparison.confusions import ConfusionTable, confusion_table
from core.domain.comparison.flips import Flip, FlipKind, flips
from core.domain.comparison.measures import measures
from core.domain.evaluation.report_sections import ChangeTable, Recall
from core.domain.evaluation.report_tables import class_changes, recalls_by_direction
from core.domain.gate.measure import Measure

BEFORE, NOW = "before", "now"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The changes from one version to another; nothing is judged."""

    before: int
    now: int
    alpha: float  # one-sided error of each bound
    flips: tuple[Flip, ...]  # over all suites and holdouts, sorted by suite and image
    measures: tuple[Measure, ...]
    changes: tuple[ChangeTable, ...]  # classes worst first
    confusions: tuple[ConfusionTable, ...]
    recalls: tuple[Recall, ...]

    @property
    def lost(self) -> int:
        """The number of images that were right and are wrong."""
        return sum(flip.kind is FlipKind.LOST for flip in self.flips)

    @property
    def gained(self) -> int:
        """The number of images that were wrong and are right."""
        return len(self.flips) - self.lost


def compare(
    answered: Sequence[AnsweredQuery], *, before: int, now: int, alpha: float
) -> Comparison:
    """Return the comparison of two versions, named by their numbers."""
    return Comparison(
        before=before,
        now=now,
        alpha=alpha,
        flips=tuple(flips(answered)),
        measures=tuple(measures(answered, before=before, alpha=alpha)),
        changes=tuple(_changes(answered, before, alpha)),
        confusions=tuple(table for one in answered if (table := confusion_table(one))),
        recalls=tuple(_recalls(answered, before, now)),
    )


def _changes(answered: Sequence[AnsweredQuery], before: int, alpha: float) -> Iterator[ChangeTable]:
    for one in answered:
        if one.classes is None:
            continue
        query, old, new = one.classes
        yield ChangeTable(
            kind=one.asked.kind,
            name=one.asked.name,
            baseline=f"version {before}",
            baseline_version=before,
            classes=class_changes(query, now=new.hits(query), before=old.hits(query), alpha=alpha),
        )


def _recalls(answered: Sequence[AnsweredQuery], before: int, now: int) -> Iterator[Recall]:
    for one in answered:
        if one.captions is None:
            continue
        _, old, new = one.captions
        for role, number, ranks in ((BEFORE, before, old), (NOW, now, new)):
            yield from recalls_by_direction(ranks, suite=one.asked.name, role=role, version=number)
