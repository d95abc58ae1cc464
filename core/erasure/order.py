"""Order erasures, follow them and certify them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.rows import ErasedImages
from core.erasure.live import Line
from core.erasure.rows import Erasures
from core.erasure.rules import EXACTNESS, REMAINS, Erasure, ErasureStatus, MarkedVersion, Retraining
from core.errors import ErasureCommitted, ErasurePending, FieldInvalid, ImageNotFound
from core.exports.rows import Exports
from core.jobs.orders import EraseOrder, JobType
from core.jobs.queue import JobRequest, enqueue, find_replayed, notify_workers
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobNotifier, JobStatus, order_of
from core.platform import Platform
from core.registry.aliases import Alias
from core.registry.read import ancestors
from core.registry.versions import Version
from core.trials.rows import TrialSamples
from core.values import Digest, ErasureId, JobId, ModelId, clean_reason, new_id

LANE = "erasures"  # they run one after another
PRIORITY = 10  # above all that can be asked for


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
    if not (reason := clean_reason(reason)):
        raise FieldInvalid("An erasure requires a reason.", pointer="/reason")
    now = platform.clock()
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return work[Erasures].get(order_of(known, EraseOrder).erasure)
        wanted = tuple(sorted(set(images)))
        _require_stored(work, wanted)
        erasure_id = ErasureId(new_id("era", now))
        order = EraseOrder(erasure=erasure_id)
        first = replace(request, priority=PRIORITY)
        job = enqueue(work, first, None, JobType.ERASE, order, now, lane=LANE)
        erasure = Erasure(
            id=erasure_id,
            images=wanted,
            reason=reason,
            retraining=retraining,
            actor=request.principal.name,
            job=job.id,
            created_at=now,
        )
        work[Erasures].add(erasure)
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
    work: Work, request: JobRequest, order: EraseOrder, now: datetime, retry_of: JobId
) -> Job:
    """Queue a new job of an erasure."""
    job = enqueue(work, request, None, JobType.ERASE, order, now, lane=LANE, retry_of=retry_of)
    work[Erasures].save(replace(work[Erasures].get(order.erasure), job=job.id))
    return job


def refuse_cancellation(work: Work, job: Job) -> None:
    """Raise ErasureCommitted for a job whose erasure nothing brings back (`ON_CANCEL`)."""
    if job.finished_at is not None or not isinstance(job.order, EraseOrder):
        return
    if work[Erasures].get(job.order.erasure).erased_at is not None:
        raise ErasureCommitted(erasure=job.order.erasure)


def _require_stored(work: Work, images: Collection[Digest]) -> None:
    erased = work[ErasedImages].erased(images)
    sampled = {one.pixels for one in work[TrialSamples].holding(images)}
    stored = work[ErasedImages].forms(images).keys() | sampled
    missing = sorted(set(images) - stored | erased.keys())
    if missing:
        raise ImageNotFound(
            f"Not stored, or erased before: {len(missing)} of the images. Nothing was erased.",
            pixels=missing[:20],
            erasures=sorted(set(erased.values()))[:20],
        )


# The progress of erasures: which versions they have marked, and what replaces these by now.


@dataclass(frozen=True, kw_only=True)
class MarkedState:
    """A marked version as it is now."""

    marked: MarkedVersion
    version: Version | None  # None: it was deleted since
    by: Version | None  # that replaces it
    waits: bool  # for an update that will replace it

    @property
    def cleared(self) -> bool:
        """True if it was trained again to the same weights, so that the images left no trace."""
        return self.version is not None and self.version.erasure is None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of an erasure."""

    erasure: Erasure
    status: ErasureStatus
    versions: Sequence[MarkedState]
    live: Sequence[tuple[str, Alias, str]]  # model, alias at a marked version, what to do about it


def progress_of(work: Work, erasures: Sequence[Erasure]) -> list[Progress]:
    """Return how far erasures have come; a model is read once for all of them."""
    jobs = work[Jobs].statuses([erasure.job for erasure in erasures])
    marked = [one for erasure in erasures for one in erasure.findings.versions]
    lines = {model: Line.of(work, model) for model in {one.model for one in marked}}
    return [_progress(erasure, jobs[erasure.job], lines) for erasure in erasures]


def _progress(erasure: Erasure, job: JobStatus, lines: Mapping[ModelId, Line]) -> Progress:
    marked = erasure.findings.versions
    models = {one.model: one.name for one in marked}
    numbers = {(one.model, one.number) for one in marked}
    versions = [_follow(one, numbers, lines[one.model]) for one in marked]
    know = {(one.marked.model, one.marked.number) for one in versions if not one.cleared}
    live = [
        (models[model], alias, lines[model].next_step(alias)[1])
        for model in sorted(models)
        for alias in lines[model].aliases
        if (model, alias.version) in know
    ]
    return Progress(
        erasure=erasure,
        status=ErasureStatus.of(
            job,
            waiting=sum(one.waits for one in versions),
            missing=sum(_is_missing(one) for one in versions),
            live=len(live),
        ),
        versions=versions,
        live=live,
    )


def _follow(
    marked: MarkedVersion, numbers: Collection[tuple[ModelId, int]], line: Line
) -> MarkedState:
    """Return what a marked version has become.

    What replaced it after an earlier erasure may be marked as well: then what counts is what
    replaces that.
    """
    number, by = marked.number, line.replacements.get(marked.number)
    while by is not None and (by.model, by.number) in numbers:
        number, by = by.number, line.replacements.get(by.number)
    return MarkedState(
        marked=marked,
        version=line.versions.get(marked.number),
        by=by,
        waits=number in line.waiting,
    )


def _is_missing(one: MarkedState) -> bool:
    wanted = one.marked.retrained or one.marked.obstacle is not None
    return wanted and one.version is not None and one.by is None and not one.cleared


# The certificate of an erasure.


def certify(platform: Platform, erasure: ErasureId) -> dict[str, Any]:
    """Return what an erasure has taken back, what replaces what, and what it cannot reach.

    Whether the store holds bytes of the images is looked up now. Raises ErasureNotFound, or
    ErasurePending until the erasure has ended.
    """
    with platform.transactions(read_only=True) as work:
        (progress,) = progress_of(work, [work[Erasures].get(erasure)])
        if not progress.status.ended:
            raise ErasurePending(
                f"The erasure is {progress.status.value}.",
                erasure=erasure,
                status=progress.status.value,
            )
        versions = [_version(work, one) for one in progress.versions]
    order, found = progress.erasure, progress.erasure.findings
    return {
        "erasure": order.id,
        "status": progress.status,
        "reason": order.reason,
        "ordered_by": order.actor,
        "ordered_at": order.created_at,
        "erased_at": order.erased_at,
        "images": [
            {
                "pixels": pixels,
                "stored_as": list(forms),
                "in_store": any(platform.artifacts.has(form) for form in forms),
            }
            for pixels, forms in sorted(found.artifacts.items())
        ],
        "drafts": list(found.drafts),
        "dataset_versions": [
            {
                "dataset": one.name,
                "version": one.number,
                "removed": one.removed,
                "replaced_by": one.replaced_by,
            }
            for one in found.datasets
        ],
        "suites": list(found.suites),
        "near_duplicates": list(found.near_duplicates),
        "trials": list(found.trials),
        "versions": versions,
        "aliases": [
            {"model": model, "alias": alias.name, "version": alias.version, "next_step": step}
            for model, alias, step in progress.live
        ],
        "remains": [{"where": where, "what": what} for where, what in REMAINS.items()],
        "exactness": EXACTNESS,
    }


def _version(work: Work, one: MarkedState) -> dict[str, Any]:
    by = one.by
    return {
        "model": one.marked.name,
        "version": one.marked.number,
        "learned": one.marked.learned,
        "digest": one.marked.digest,
        "exports": [
            export.format.value for export in work[Exports].all(one.marked.model, one.marked.number)
        ],
        "environment": dict(one.version.environment) if one.version else None,
        "replaced_by": by and by.number,
        "digest_after": by and by.digest,
        "environment_after": dict(by.environment) if by else None,
        "exact": _is_exact(work, by) if by else None,
        "cleared": one.cleared,
        "obstacle": one.marked.obstacle,
    }


def _is_exact(work: Work, version: Version) -> bool:
    """Return whether a version and all that it was trained from stayed on one kind of machine."""
    line = [*ancestors(work, version), version]
    made = [one for one in line if one.data is not None or one.origin is not None]
    return all(one.exact and one.environment == made[-1].environment for one in made)
