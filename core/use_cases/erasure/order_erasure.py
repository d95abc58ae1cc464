"""Order an erasure."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from core.domain.access.audit import Action
from core.domain.erasure.erasure import Erasure, Retraining
from core.domain.jobs.job import Job, order_of
from core.domain.jobs.order import EraseOrder, JobType
from core.domain.values import Digest, ErasureId, new_id
from core.errors import FieldInvalid, ImageNotFound
from core.ports import JobNotifier, Platform, UnitOfWork
from core.use_cases.access import audit
from core.use_cases.jobs.queue import JobRequest, enqueue, find_replayed, notify_workers

LANE = "erasures"  # they run one after another
PRIORITY = 9  # before all that waits


def order_erasure(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    images: Collection[Digest],
    reason: str,
    retraining: Retraining,
) -> Erasure:
    """Order that images be erased, and what learned from them be trained again without them.

    Raises ImageNotFound with those that are not stored or were erased before, or FieldInvalid
    without a reason.
    """
    if not reason.strip():
        raise FieldInvalid("An erasure requires a reason.", pointer="/reason")
    now = platform.clock()
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return work.erasures.get(order_of(known, EraseOrder).erasure)
        wanted = tuple(sorted(set(images)))
        _require_stored(work, wanted)
        erasure_id = ErasureId(new_id("era", now))
        order = EraseOrder(erasure=erasure_id)
        job = enqueue(work, request, None, JobType.ERASE, order, now, lane=LANE, priority=PRIORITY)
        erasure = Erasure(
            id=erasure_id,
            images=wanted,
            reason=reason.strip(),
            retraining=retraining,
            actor=request.principal.name,
            job=job.id,
            created_at=now,
        )
        work.erasures.add(erasure)
        audit.record(
            work,
            Action.ERASURE_ORDERED,
            f"erasures/{erasure.id}",
            now=now,
            after={"images": len(wanted), "retraining": retraining.value},
            reason=erasure.reason,
        )
        work.commit()
    notify_workers(notifier, job)
    return erasure


def repeat_erasure(
    work: UnitOfWork, request: JobRequest, order: EraseOrder, now: datetime, **again: Any
) -> Job:
    """Queue a new job of an erasure. Raises Forbidden for anyone but an administrator."""
    request.principal.require_admin()
    job = enqueue(work, request, None, JobType.ERASE, order, now, lane=LANE, **again)
    work.erasures.save(replace(work.erasures.get(order.erasure), job=job.id))
    return job


def _require_stored(work: UnitOfWork, images: Collection[Digest]) -> None:
    erased = work.erasures.erased(images)
    sampled = {one.pixels for one in work.samples.holding(images)}
    stored = work.erasures.forms(images).keys() | sampled
    missing = sorted(set(images) - stored | erased.keys())
    if missing:
        raise ImageNotFound(
            f"Not stored, or erased before: {len(missing)} of the images. Nothing was erased.",
            pixels=missing[:20],
            erasures=sorted(set(erased.values()))[:20],
        )
