"""Routes of jobs."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.accepted_job import accepted
from api.dependencies import CurrentPrincipal, IdempotencyKey, WiredServices, job_request
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.common import After, Limit, Page, page_of
from api.schemas.jobs.filters import (
    CreatedSince,
    CreatedUntil,
    MetadataFilter,
    key_and_value,
)
from api.schemas.jobs.jobs import JobView
from api.schemas.jobs.orders import NewBlame, NewJob, NewUpdate
from core import errors
from core.domain.access.roles import Role
from core.domain.jobs.job import JobStatus
from core.domain.jobs.order import JobType
from core.domain.values import JobId
from core.use_cases.blame.order_blame import order_blame
from core.use_cases.evaluation.order_evaluation import order_evaluation
from core.use_cases.jobs.queue import cancel_job
from core.use_cases.retry_job import retry_job
from core.use_cases.training.order_update import order_update

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=ThreadRoute)

REFUSALS = (  # of jobs that could not start
    errors.ImportFailed,
    errors.DatasetNotFound,
    errors.DatasetVersionNotFound,
    errors.VersionNotFound,
    errors.AliasNotFound,
    errors.RecipeInvalid,
    errors.PromptInvalid,
    errors.FieldInvalid,
    errors.ModelNotTrainable,
    errors.ArtifactGone,
    errors.LearnedErasedImages,
    errors.DatasetVersionReplaced,
    errors.ParentNotRetrained,
    errors.TooFewPerClass,
    errors.TooFewClasses,
    errors.ImageInSuite,
    errors.ArchiveGone,
    errors.AnswersMissing,
    errors.NotExportable,
    errors.ExporterMissing,
    errors.SuitesTooSmall,
    errors.DatasetEmpty,
)


@router.post(
    "",
    status_code=202,
    responses=raises(
        errors.ModelNotFound,
        errors.InProgress,
        errors.IdempotencyMismatch,
        errors.JobDeleted,
        errors.TooManyJobs,
        *REFUSALS,
    ),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def order_job(
    body: NewJob,
    request: Request,
    response: Response,
    services: WiredServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> JobView:
    """Order an update, an evaluation or a blame; what could not start is refused at once."""
    ordered_by = job_request(request, principal, key, body.model_dump(mode="json"))
    if isinstance(body, NewUpdate):
        job = order_update(
            services.platform,
            services.notifier,
            ordered_by,
            model=body.model,
            order=body.order(promotes=principal.may(Role.OPERATOR)),
            priority=body.priority,
            metadata=body.metadata,
        )
    elif isinstance(body, NewBlame):
        job = order_blame(
            services.platform,
            services.notifier,
            ordered_by,
            model=body.model,
            order=body.order(),
            priority=body.priority,
            metadata=body.metadata,
        )
    else:
        job = order_evaluation(
            services.platform,
            services.notifier,
            ordered_by,
            model=body.model,
            version=body.version,
            alias=body.alias,
            priority=body.priority,
        )
    return accepted(services, response, job)


@router.get("", responses=raises(errors.ModelNotFound), openapi_extra=needs(Role.VIEWER))
def list_jobs(
    services: WiredServices,
    limit: Limit = 50,
    after: After = None,
    model: str | None = None,
    job_type: Annotated[JobType | None, Query(alias="type")] = None,
    status: JobStatus | None = None,
    created_since: CreatedSince = None,
    created_until: CreatedUntil = None,
    metadata: MetadataFilter = None,
) -> Page[JobView]:
    """List jobs, newest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work.jobs.named_page(
            limit + 1,
            JobId(after) if after else None,
            model=work.models.get(model).id if model else None,
            job_type=job_type,
            status=status,
            since=created_since,
            until=created_until,
            metadata=key_and_value(metadata) if metadata else None,
        )
    return page_of(rows, limit, JobView.of, lambda row: row.job.id)


@router.get("/{job}", responses=raises(errors.JobNotFound), openapi_extra=needs(Role.VIEWER))
def get_job(job: str, services: WiredServices) -> JobView:
    """Return a job."""
    with services.platform.transactions(read_only=True) as work:
        found = work.jobs.named(JobId(job))
    return JobView.of(found)


@router.post(
    "/{job}/cancel",
    status_code=202,
    responses=raises(errors.JobNotFound, errors.JobFinished),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def stop_job(job: str, services: WiredServices, response: Response) -> JobView:
    """Cancel a job: at once if it is queued, at its next step if it is running."""
    return accepted(services, response, cancel_job(services.platform, JobId(job)))


@router.post(
    "/{job}/retry",
    status_code=202,
    responses=raises(
        errors.JobNotFound,
        errors.Conflict,
        errors.IdempotencyMismatch,
        errors.JobDeleted,
        errors.TooManyJobs,
        *REFUSALS,
    ),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def order_job_again(
    job: str,
    request: Request,
    response: Response,
    services: WiredServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> JobView:
    """Order a failed or cancelled job again as a new job; it is refused if it could not start."""
    ordered_by = job_request(request, principal, key, None)
    again = retry_job(services.platform, services.notifier, ordered_by, JobId(job))
    return accepted(services, response, again)
