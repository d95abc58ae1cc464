"""Events that webhooks receive: each says by ids and links what happened."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.domain.datasets.dataset import DatasetVersion
from core.domain.jobs.job import Job
from core.domain.registry.alias import AliasMove
from core.domain.registry.version import Version
from core.domain.values import Json, ModelId, WebhookId, new_id


class EventType(StrEnum):
    """The types of events that a webhook can subscribe to."""

    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    VERSION_JUDGED = "version.judged"
    ALIAS_MOVED = "alias.moved"
    ALIAS_DELETED = "alias.deleted"
    DATASET_FROZEN = "dataset.frozen"


TEST = "webhook.test"  # ordered by hand, for one webhook


@dataclass(frozen=True, kw_only=True)
class OutboxEvent:
    """Something that happened, for every webhook that subscribes to it."""

    id: str  # evt_...; the same in every delivery and attempt, so that receivers can tell repeats
    type: str  # an EventType, or TEST
    object: str  # a webhook receives the events of one object in order
    model: ModelId | None  # None: it concerns no model
    data: Json  # ids and links only
    at: datetime

    @property
    def payload(self) -> dict[str, Any]:
        """The body of a delivery, as Standard Webhooks has it."""
        return {"type": self.type, "timestamp": self.at.isoformat(), "data": dict(self.data)}


def job_ended(job: Job) -> OutboxEvent:
    """Return the event of a job that has ended."""
    if job.finished_at is None:
        raise ValueError("an ended job needs finished_at")
    links = {"job": f"/v1/jobs/{job.id}"}
    if job.model is not None:
        links["model"] = f"/v1/models/{job.model}"
    return OutboxEvent(
        id=new_id("evt", job.finished_at),
        type=EventType(f"job.{job.status.value}"),
        object=job.id,
        model=job.model,
        data={
            "job": job.id,
            "job_type": job.type.value,
            "model": job.model,
            "version": (job.result or {}).get("version") or job.version,
            "links": links,
        },
        at=job.finished_at,
    )


def version_judged(version: Version, job: Job, now: datetime) -> OutboxEvent:
    """Return the event of a version that the gate has judged."""
    path = _path_of(version.model, version.number)
    return OutboxEvent(
        id=new_id("evt", now),
        type=EventType.VERSION_JUDGED,
        object=f"{version.model}:{version.number}",
        model=version.model,
        data={
            "model": version.model,
            "version": version.number,
            "verdict": version.verdict and version.verdict.value,
            "job": job.id,
            "links": {
                "version": path,
                "forgetting": f"{path}/forgetting",
                "job": f"/v1/jobs/{job.id}",
            },
        },
        at=now,
    )


def alias_moved(row: AliasMove) -> OutboxEvent:
    """Return the event of a row in an alias's history, which may be the last one."""
    links = {"alias": f"/v1/models/{row.model}/aliases/{row.alias}"}
    if row.to_version is not None:
        links["version"] = _path_of(row.model, row.to_version)
    return OutboxEvent(
        id=new_id("evt", row.at),
        type=EventType.ALIAS_DELETED if row.to_version is None else EventType.ALIAS_MOVED,
        object=f"{row.model}@{row.alias}",
        model=row.model,
        data={
            "model": row.model,
            "alias": row.alias,
            "revision": row.revision,
            "kind": row.kind.value,
            "from_version": row.from_version,
            "to_version": row.to_version,
            "links": links,
        },
        at=row.at,
    )


def dataset_frozen(version: DatasetVersion) -> OutboxEvent:
    """Return the event of a dataset version."""
    path = f"/v1/datasets/{version.dataset}"
    return OutboxEvent(
        id=new_id("evt", version.created_at),
        type=EventType.DATASET_FROZEN,
        object=version.dataset,
        model=None,
        data={
            "dataset": version.dataset,
            "dataset_version": version.number,
            "links": {"dataset": path, "dataset_version": f"{path}/versions/{version.number}"},
        },
        at=version.created_at,
    )


def webhook_test(webhook: WebhookId, now: datetime) -> OutboxEvent:
    """Return an event that tests a webhook."""
    return OutboxEvent(
        id=new_id("evt", now),
        type=TEST,
        object=webhook,
        model=None,
        data={"webhook": webhook, "links": {"webhook": f"/v1/webhooks/{webhook}"}},
        at=now,
    )


def _path_of(model: ModelId, version: int) -> str:
    return f"/v1/models/{model}/versions/{version}"
