"""Collecting what nobody needs."""

from datetime import datetime, timedelta
from typing import Self

from pydantic import Field

from api.schemas.common import RequestModel, ResponseModel
from core.domain.registry.retention import Amount, Retention
from core.use_cases.storage.gc import GRACE, LEAST_GRACE, Tidied

HOUR = timedelta(hours=1)


class NewCollection(RequestModel):
    """What may go."""

    dry_run: bool = Field(False, description="Tell what would go, and delete nothing.")
    older_than_hours: float = Field(
        GRACE / HOUR,
        ge=LEAST_GRACE / HOUR,
        le=24 * 366,
        description="Only what nobody has stored for so long. Publishing takes less than half.",
    )
    keep_last: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Versions give up their weights unless they are among so many newest of their "
        "model, needed (roots, live ones and those that rollbacks come back to, those of "
        "unfinished jobs, parents of all these) or young. Null: none gives them up.",
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
        """How long ago an artifact was stored at the least."""
        return timedelta(hours=self.older_than_hours)


class AmountView(ResponseModel):
    """So many artifacts, so many bytes."""

    count: int
    size: int

    @classmethod
    def of(cls, amount: Amount) -> Self:
        """Show an amount."""
        return cls(count=amount.count, size=amount.size)


class VersionName(ResponseModel):
    """A version."""

    model: str = Field(description="The model's id.")
    version: int


class CollectionView(ResponseModel):
    """What a collection did or, on a dry run, would have done."""

    dry_run: bool
    given_up: list[VersionName] = Field(description="Versions that gave up their weights.")
    kept: dict[str, AmountView] = Field(examples=[{"tensor": {"count": 302, "size": 10485760}}])
    collected: dict[str, AmountView] = Field(examples=[{"unknown": {"count": 3, "size": 65536}}])
    young: AmountView = Field(description="Named by nothing, but stored lately.")
    temporaries: int = Field(description="Left by writers that died.")
    unreadable: list[str] = Field(
        description="Lists that are missing or damaged. What they name is not known, so nothing "
        "was collected: restore them from a back-up."
    )
    complete: bool = Field(description="False: the time was up, the next collection goes on.")

    @classmethod
    def of(cls, tidied: Tidied) -> Self:
        """Show what `collect_garbage` returned."""
        return cls(
            dry_run=tidied.dry_run,
            given_up=[VersionName(model=v.model, version=v.number) for v in tidied.given_up],
            kept={kind: AmountView.of(amount) for kind, amount in tidied.kept.items()},
            collected={kind: AmountView.of(amount) for kind, amount in tidied.collected.items()},
            young=AmountView.of(tidied.young),
            temporaries=tidied.temporaries,
            unreadable=tidied.unreadable,
            complete=tidied.complete,
        )
