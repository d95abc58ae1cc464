"""Which versions' weights may go."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.domain.registry import AliasMove, live_stack
from core.domain.update import EvaluateOrder, Job, UpdateOrder
from core.domain.version import Version


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How much of a model's past is kept besides what is needed."""

    keep_last: int  # the newest versions of a model
    made_before: datetime  # younger versions stay


def spare_versions(
    versions: Collection[Version],
    *,
    histories: Iterable[Sequence[AliasMove]],
    unfinished: Iterable[Job],
    retention: Retention,
) -> list[Version]:
    """The versions of one model whose weights nobody needs, oldest first.

    Needed are roots; what an alias points to or would come back to by rolling back; the parents,
    products and subjects of unfinished jobs; the newest and the young ones; and the parent of
    each of these, which its score is compared with. Reports, rows and classes always stay.
    """
    by_number = {version.number: version for version in versions}
    kept = {version.number for version in versions if version.is_root}
    kept.update(sorted(by_number)[-retention.keep_last :] if retention.keep_last else ())
    kept.update(v.number for v in versions if v.created_at >= retention.made_before)
    for history in histories:
        kept.update(live_stack(history))
    for job in unfinished:
        kept.update(_versions_of(job))
    parents = {by_number[number].parent for number in kept if number in by_number}
    return [
        by_number[number]
        for number in sorted(by_number.keys() - kept - parents)
        if by_number[number].collected_at is None
    ]


def _versions_of(job: Job) -> set[int]:
    """The versions a job reads or has made."""
    order = job.order
    named = {job.parent_version, job.version}
    if isinstance(order, UpdateOrder):
        named.add(order.parent)
    if isinstance(order, EvaluateOrder):
        named.add(order.version)
    return {number for number in named if number is not None}


@dataclass(frozen=True, kw_only=True)
class Amount:
    """So many artifacts, so many bytes."""

    count: int = 0
    size: int = 0  # bytes

    def plus(self, size: int) -> "Amount":
        """One artifact more."""
        return Amount(count=self.count + 1, size=self.size + size)
