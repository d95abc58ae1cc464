"""Routes of jobs: orders, their progress, their events, and advice before an order."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Depends, Header, Query, Request, Response
from pydantic.config import JsonDict
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.dependencies import CurrentPrincipal, IdempotencyKey, Services, WiredServices, job_request
from api.http.answers import preferred
from api.http.problems import problem_of
from api.http.routing import JSON, Routes, ThreadRoute, raises
from api.http.schemas import AfterNumber, Limit, Page, number_after, page_of
from api.jobs.orders import NewBlame, NewConversion, NewEvaluation, NewJob, NewUpdate
from api.jobs.schemas import (
    AdviceView,
    EventView,
    JobQuery,
    JobSummaryView,
    JobView,
    advice_view,
    job_summary,
    job_view,
)
from core import errors
from core.advice.advise import advise
from core.blame.order import order_blame
from core.evaluation.order import order_evaluation
from core.job_types.retry import retry_job
from core.jobs.queue import JobRequest, cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobNotifier
from core.platform import Platform
from core.principal import Principal, Role
from core.training.convert import order_conversion
from core.training.order import order_update
from core.values import JobId

router = Routes(prefix="/v1/jobs", tags=["jobs"], route_class=ThreadRoute)

POLL_AFTER_S = 1  # told to who has ordered a job
STREAM = "text/event-stream"
POLL_EVERY_S = 0.5
STREAM_AFTER_S = 10  # told to who has too many streams open
CHECK_EVERY_S = 5.0  # whether whoever reads a stream may still read it
KEEP_ALIVE_EVERY = 30  # polls without an event
BATCH = 200  # events of a read
LAST = "done"  # the kind of the last event that a worker adds to a job

UPDATE_REFUSALS = (  # of updates that could not start
    errors.ImportFailed,
    errors.DatasetNotFound,
    errors.DatasetVersionNotFound,
    errors.VersionNotFound,
    errors.AliasNotFound,
    errors.RecipeInvalid,
    errors.RecipeUnsafe,
    errors.PromptInvalid,
    errors.FieldInvalid,
    errors.ModelNotTrainable,
    errors.ArtifactGone,
    errors.LearnedErasedImages,
    errors.DatasetVersionReplaced,
    errors.ParentNotRetrained,
    errors.TooFewPerClass,
    errors.TooFewClasses,
    errors.HoldoutBiased,
    errors.ImageInSuite,
)

REFUSALS = (  # of jobs that could not start
    *UPDATE_REFUSALS,
    errors.ArchiveGone,
    errors.AnswersMissing,
    errors.NotExportable,
    errors.ExporterMissing,
    errors.SuitesTooSmall,
    errors.DatasetEmpty,
)


def accepted(services: Services, response: Response, job: Job) -> JobView:
    """Return the job as it is now, and set the headers of a 202 response."""
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = str(POLL_AFTER_S)
    with services.platform.transactions(read_only=True) as work:
        return job_view(work[Jobs].named(job.id))


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """A request that orders a job, and its response."""

    request: Request
    response: Response
    services: Services
    principal: Principal
    key: str | None

    def of(self, body: object) -> tuple[Platform, JobNotifier, JobRequest]:
        """Return what an order takes; `body` is what the key belongs to: see `job_request`."""
        ordered_by = job_request(self.request, self.principal, self.key, body)
        return self.services.platform, self.services.notifier, ordered_by

    def accepted(self, job: Job) -> JobView:
        """Return the job as it is now, and set the headers of a 202 response."""
        return accepted(self.services, self.response, job)


async def _ordering(
    request: Request,
    response: Response,
    services: WiredServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> Ordering:
    return Ordering(
        request=request, response=response, services=services, principal=principal, key=key
    )


PlacedOrder = Annotated[Ordering, Depends(_ordering)]
ORDER_ERRORS = (
    errors.InProgress,
    errors.IdempotencyMismatch,
    errors.JobDeleted,
    errors.TooManyJobs,
)

_SEEN: JsonDict = {"pattern": "^[0-9]{0,9}$"}  # empty: no event yet, as browsers may send

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {STREAM: {"schema": {"type": "string"}}}},
    **raises(errors.JobNotFound, errors.NotAcceptable, errors.TooManyStreams),
}


@router.post("", Role.CONTRIBUTOR, errors.ModelNotFound, *ORDER_ERRORS, *REFUSALS, status_code=202)
def order_job(body: NewJob, ordering: PlacedOrder) -> JobView:
    """Order an update, a conversion, an evaluation or a blame; what could not start is refused."""
    platform, notifier, request = ordering.of(body.model_dump(mode="json"))
    metadata = {} if isinstance(body, NewEvaluation) else body.metadata
    asked = platform, notifier, replace(request, priority=body.priority, metadata=metadata)
    promotes = ordering.principal.may(Role.OPERATOR)
    if isinstance(body, NewUpdate):
        order, freezes = body.order(promotes=promotes), body.dataset_version is None
        job = order_update(*asked, model=body.model, order=order, freezes=freezes)
    elif isinstance(body, NewConversion):
        job = order_conversion(*asked, model=body.model, order=body.order(promotes=promotes))
    elif isinstance(body, NewBlame):
        job = order_blame(*asked, model=body.model, order=body.order())
    else:
        job = order_evaluation(*asked, model=body.model, version=body.version, alias=body.alias)
    return ordering.accepted(job)


@router.get("", Role.VIEWER, errors.ModelNotFound)
def list_jobs(services: WiredServices, query: Annotated[JobQuery, Query()]) -> Page[JobSummaryView]:
    """List jobs, newest first; the recipe of an update is with the job itself."""
    with services.platform.transactions(read_only=True) as work:
        rows = query.read(work, query.limit + 1)
    return page_of(rows, query.limit, job_summary, lambda row: row.job.id)


@router.get("/{job}", Role.VIEWER, errors.JobNotFound)
def get_job(job: str, services: WiredServices) -> JobView:
    """Return a job."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Jobs].named(JobId(job))
    return job_view(found)


@router.post(
    "/{job}/cancel",
    Role.CONTRIBUTOR,
    errors.JobNotFound,
    errors.JobFinished,
    errors.ErasureCommitted,
    status_code=202,
)
def stop_job(job: str, services: WiredServices, response: Response) -> JobView:
    """Cancel a job: at once if it is queued, at its next step if it is running.

    It takes the role and the models that ordering the job takes. Once an erasure's images are gone,
    it cannot be cancelled.
    """
    return accepted(services, response, cancel_job(services.platform, JobId(job)))


@router.post(
    "/{job}/retry",
    Role.CONTRIBUTOR,
    errors.JobNotFound,
    errors.Conflict,
    errors.IdempotencyMismatch,
    errors.JobDeleted,
    errors.TooManyJobs,
    *REFUSALS,
    status_code=202,
)
def order_job_again(job: str, ordering: PlacedOrder) -> JobView:
    """Order a failed or cancelled job again as a new job; it is refused if it could not start.

    It takes the role and the models that ordering the job takes.
    """
    return ordering.accepted(retry_job(*ordering.of(None), JobId(job)))


@router.post("/advice", Role.CONTRIBUTOR, errors.ModelNotFound, *UPDATE_REFUSALS)
async def advise_update(body: NewUpdate, services: WiredServices) -> AdviceView:
    """Advise on an update before it is ordered: a dry run, which queues and writes nothing.

    The body is that of the order, with dataset versions, and an order that could not start is
    refused with the same error. The parent classifies a sample of the images, at most 20 of a
    class; if inference is not available, the advice has everything else. A learning rate that the
    order must force is a finding.
    """
    if body.dataset_version is None:
        raise errors.FieldInvalid("Advice requires a version.", pointer="/dataset_version")
    if body.captions is not None and body.captions.version is None:
        raise errors.FieldInvalid("Advice requires a version.", pointer="/captions/version")
    return await run_sync(_advise, services, body, limiter=services.advising)


def _advise(services: Services, body: NewUpdate) -> AdviceView:
    advice = advise(
        services.platform,
        services.inference,
        services.decoder,
        model=body.model,
        order=body.order(),
    )
    return advice_view(advice)


@router.get("/{job}/events", Role.VIEWER, responses=_ANSWERS, response_model=Page[EventView])
async def list_job_events(
    job: str,
    services: WiredServices,
    limit: Limit = 50,
    after: AfterNumber = None,
    accept: Annotated[str | None, Header()] = None,
    last_event_id: Annotated[str, Header(alias="Last-Event-ID", json_schema_extra=_SEEN)] = "",
) -> Page[EventView] | Response:
    """List a job's events, oldest first: a JSON page, or server-sent events until the job ends."""
    asked = number_after(after)
    start = number_after(last_event_id) if last_event_id else asked
    wanted = preferred(accept, (JSON, STREAM))
    found, _ = await run_in_threadpool(read_events, services, JobId(job), limit + 1, start)
    if wanted == STREAM:
        return EventStream(services, JobId(job), start)
    return page_of(found, limit, lambda event: event, lambda event: event.id)


def read_events(
    services: Services, job: JobId, limit: int, after: int
) -> tuple[Sequence[EventView], bool]:
    """Return the events after a sequence number, and whether the job had ended before that read.

    Raises JobNotFound.
    """
    with services.platform.transactions(read_only=True) as work:
        done = work[Jobs].get(job).status.done
        return [EventView.of(event) for event in work[Jobs].events(job, limit, after)], done


class EventStream(StreamingResponse):
    """The events after a sequence number as a stream, unless its reader has too many open.

    It ends with its job, or a few seconds after its reader's key, token or session has ended or has
    another role or other models.
    """

    def __init__(self, services: Services, job: JobId, after: int) -> None:
        super().__init__((), media_type=STREAM)
        self._open, self._most = services.streams, services.platform.settings.max_streams_per_key
        self._asked = services, job, after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, or the refusal."""
        state = scope["state"]
        reader = state["principal"].id
        if 0 < self._most <= self._open[reader]:
            refusal = errors.TooManyStreams(retry_after_s=STREAM_AFTER_S)
            await problem_of(HTTPConnection(scope), refusal)(scope, receive, send)
            return
        self._open[reader] += 1
        self.body_iterator = stream_events(*self._asked, may_read=state["still_holds"])
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._open[reader] -= 1
            if not self._open[reader]:
                del self._open[reader]


async def stream_events(
    services: Services, job: JobId, after: int, *, may_read: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    """Yield the events after a sequence number as server-sent events, until the job ends.

    Stops within a few seconds once `may_read` returns false.
    """
    quiet, last, checked = 0, "", time.monotonic()
    while True:
        if time.monotonic() - checked >= CHECK_EVERY_S:
            if not await may_read():
                return
            checked = time.monotonic()
        found, done = await run_in_threadpool(read_events, services, job, BATCH, after)
        for event in found:
            after, last = event.id, event.kind
            yield f"id: {event.id}\nevent: {event.kind}\ndata: {event.model_dump_json()}\n\n"
        if done and not found:
            if last != LAST:
                yield f"event: {LAST}\ndata: {json.dumps({'job': job})}\n\n"
            return
        if found:
            quiet = 0
            continue
        quiet += 1
        if quiet % KEEP_ALIVE_EVERY == 0:
            yield ": beat\n\n"
        await asyncio.sleep(POLL_EVERY_S)
