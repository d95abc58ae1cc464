"""Schemas of garbage collection."""

from datetime import datetime, timedelta
from typing import Self

from pydantic import Field

from api.schemas.common import RequestModel, ResponseModel
from core.domain.registry.retention import Amount, Retention
from core.use_cases.storage.gc import GRACE, LEAST_GRACE, CollectionResult

HOUR = timedelta(hours=1)


class NewCollection(RequestModel):
    """Options of a garbage collection."""

    dry_run: bool = Field(False, description="Report what would be deleted, and delete nothing.")
    older_than_hours: float = Field(
        GRACE / HOUR,
        ge=LEAST_GRACE / HOUR,
        le=24 * 366,
        description="Delete only artifacts last stored at least this long ago. Publishing a "
        "version must take less than half of it.",
    )
    keep_last: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Delete the weights of versions, except the newest this many of each model, "
        "those younger than `versions_older_than_days`, and protected ones: roots, live versions "
        "and those that rollbacks return to, versions of unfinished jobs, parents of all these, "
        "and ancestors that were never scored. Null: keep the weights of all versions.",
    )
    versions_older_than_days: float = Field(30, ge=0, le=366 * 100)

    def retention(self, now: datetime) -> Retention | None:
        """Return which versions keep their weights; None: all do."""
        if self.keep_last is None:
            return None
        made_before = now - timedelta(days=self.versions_older_than_days)
        return Retention(keep_last=self.keep_last, made_before=made_before)

    @property
    def grace(self) -> timedelta:
        """The least age of an artifact that may be deleted."""
        return timedelta(hours=self.older_than_hours)


class AmountView(ResponseModel):
    """A number of artifacts and their total size in bytes."""

    count: int
    size: int

    @classmethod
    def of(cls, amount: Amount) -> Self:
        """Return the view of an amount."""
        return cls(count=amount.count, size=amount.size)


class VersionName(ResponseModel):
    """A reference to a version."""

    model: str = Field(description="The model's id.")
    version: int


class CollectionView(ResponseModel):
    """The result of a garbage collection or, on a dry run, what it would be."""

    dry_run: bool
    given_up: list[VersionName] = Field(description="Versions whose weights were deleted.")
    kept: dict[str, AmountView] = Field(examples=[{"tensor": {"count": 302, "size": 10485760}}])
    collected: dict[str, AmountView] = Field(examples=[{"unknown": {"count": 3, "size": 65536}}])
    young: AmountView = Field(description="Unreferenced, but stored too recently to delete.")
    temporaries: int = Field(description="Leftover temporary files of crashed writers.")
    unreadable: list[str] = Field(
        description="Lists of artifacts that are missing or damaged. Nothing was deleted, because "
        "the artifacts on them are unknown: restore the lists from a backup."
    )
    complete: bool = Field(description="False if it ran out of time; the next one continues.")

    @classmethod
    def of(cls, result: CollectionResult) -> Self:
        """Return the view of what `collect_garbage` returned."""
        return cls(
            dry_run=result.dry_run,
            given_up=[VersionName(model=v.model, version=v.number) for v in result.given_up],
            kept={kind: AmountView.of(amount) for kind, amount in result.kept.items()},
            collected={kind: AmountView.of(amount) for kind, amount in result.collected.items()},
            young=AmountView.of(result.young),
            temporaries=result.temporaries,
            unreadable=result.unreadable,
            complete=result.complete,
        )
