"""Schemas of garbage collection and of workers."""

from datetime import datetime, timedelta

from pydantic import Field

from api.http.schemas import RequestModel, ResponseModel
from core.fleet.workers import WorkerState
from core.jobs.needs import Retention
from core.registry.exports import ExportFormat
from core.upkeep.gc import GRACE, LEAST_GRACE
from core.values import Json

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


class VersionName(ResponseModel):
    """A reference to a version."""

    model: str = Field(description="The model's id.")
    version: int = Field(validation_alias="number")


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


# Workers.


class WorkerView(ResponseModel):
    """A worker: a supervisor and its child, which holds one device."""

    id: str = Field(
        examples=["gpu-7:1f3a09bc"],
        description="New at each start; the id of its job if it runs that alone.",
    )
    fresh: bool = Field(description="Whether its last heartbeat is recent enough.")
    beat_age_s: float = Field(
        examples=[0.8], description="Age of its last heartbeat, by the database's clock."
    )
    state: str = Field(examples=["busy"], description="busy or idle.")
    job: str | None = Field(examples=["job_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    host: str = Field(examples=["gpu-7"])
    pid: int | None = Field(examples=[4711])
    child_pid: int | None = Field(validation_alias="child", examples=[4712])
    device: str = Field(
        examples=["cuda:0 (NVIDIA L4)"],
        description="Empty until the child process has loaded torch.",
    )
    device_reason: str = Field(
        examples=["1 GPU found"], description="Why it has this device and no other."
    )
    threads: int | None = Field(examples=[8], description="torch's threads on the CPU.")
    queues: list[str] = Field(
        examples=[["gpu", "housekeeping"]], description="Queues that it serves."
    )
    formats: list[str] = Field(
        examples=[list(ExportFormat)],
        description="Formats that it can export versions in.",
    )
    version: str = Field(examples=["0.1.0"], description="Perennial's release.")
    memory_bytes: int | None = Field(description="Resident memory of the child process.")
    starts: int = Field(examples=[1], description="Number of child processes that it has started.")


_UNSAID: Json = {  # what a heartbeat may leave out
    **{"state": "idle", "job": None, "pid": None, "child": None, "version": ""},
    **{"device": "", "device_reason": "", "threads": None},
    **{"queues": [], "formats": [], "memory_bytes": None, "starts": 0},
}


def worker_view(state: WorkerState) -> WorkerView:
    """Return the view of a worker."""
    heartbeat = state.heartbeat
    age_s = round(max(0.0, heartbeat.age_s), 3)
    named = {"id": heartbeat.worker, "fresh": state.fresh, "beat_age_s": age_s}
    host = heartbeat.worker.partition(":")[0]
    return WorkerView.model_validate({**_UNSAID, "host": host, **heartbeat.facts, **named})
