"""Schemas of garbage collection and of workers."""

from datetime import datetime, timedelta
from typing import Self

from pydantic import Field

from api.http.schemas import RequestModel, ResponseModel
from core.fleet.workers import WorkerState
from core.jobs.needs import Retention
from core.upkeep.gc import GRACE, LEAST_GRACE, Amount, CollectionResult

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


# Workers.


class WorkerView(ResponseModel):
    """A worker: a supervisor and its child, which holds one device."""

    id: str = Field(examples=["gpu-7:1f3a09bc"], description="New at each start.")
    fresh: bool = Field(description="Whether its last heartbeat is recent enough.")
    beat_age_s: float = Field(
        examples=[0.8], description="Age of its last heartbeat, by the database's clock."
    )
    state: str = Field(examples=["busy"], description="busy or idle.")
    job: str | None = Field(examples=["job_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    host: str = Field(examples=["gpu-7"])
    pid: int | None = Field(examples=[4711])
    child_pid: int | None = Field(examples=[4712])
    device: str = Field(examples=["cuda:0"])
    queues: list[str] = Field(
        examples=[["gpu", "housekeeping"]], description="Queues that it serves."
    )
    formats: list[str] = Field(
        examples=[["open_clip", "huggingface", "onnx", "onnx_int8"]],
        description="Formats that it can export versions in.",
    )
    version: str = Field(examples=["0.1.0"], description="Perennial's release.")
    memory_bytes: int | None = Field(description="Resident memory of the child process.")
    starts: int = Field(examples=[1], description="Number of child processes that it has started.")

    @classmethod
    def of(cls, state: WorkerState) -> Self:
        """Return the view of a worker."""
        facts = state.heartbeat.facts
        return cls(
            id=state.heartbeat.worker,
            fresh=state.fresh,
            beat_age_s=round(max(0.0, state.heartbeat.age_s), 3),
            state=facts.get("state", "idle"),
            job=facts.get("job"),
            host=facts.get("host", state.heartbeat.worker.partition(":")[0]),
            pid=facts.get("pid"),
            child_pid=facts.get("child"),
            device=facts.get("device", ""),
            queues=facts.get("queues", []),
            formats=facts.get("formats", []),
            version=facts.get("version", ""),
            memory_bytes=facts.get("memory_bytes"),
            starts=facts.get("starts", 0),
        )
