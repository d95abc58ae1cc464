"""Routes of models."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from api.accepted_job import accepted
from api.dependencies import CurrentPrincipal, IdempotencyKey, WiredServices, job_request
from api.http.export_cache import delete_exports
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.common import After, Limit, Page, page_of
from api.schemas.jobs.jobs import JobView
from api.schemas.registry.models import ModelChange, ModelView, NewModel
from core import errors
from core.domain.access.roles import Role
from core.domain.registry.version import Model
from core.domain.values import ModelId
from core.ports import UnitOfWork
from core.use_cases.datasets.suites import configure_model
from core.use_cases.deletion import delete_model as deletion
from core.use_cases.registry.create_model import create_model

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=ThreadRoute)


@router.post(
    "",
    status_code=202,
    responses=raises(
        errors.NameInvalid,
        errors.NameTaken,
        errors.BaseUnknown,
        errors.WeightsFormat,
        errors.ModelNotTrainable,
        errors.SuiteNotFound,
        errors.PolicyNotFound,
        errors.IdempotencyMismatch,
        errors.JobDeleted,
        errors.InProgress,
        errors.TooManyJobs,
    ),
    openapi_extra=needs(Role.OPERATOR),
)
def register_model(
    body: NewModel,
    request: Request,
    response: Response,
    services: WiredServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> JobView:
    """Create a model; a job imports its root as version 1."""
    job = create_model(
        services.platform,
        services.notifier,
        job_request(request, principal, key, body.model_dump()),
        name=body.name,
        base=body.base,
        suites=tuple(body.suites),
        policy=body.policy,
    )
    return accepted(services, response, job)


@router.get("", openapi_extra=needs(Role.VIEWER))
def list_models(services: WiredServices, limit: Limit = 50, after: After = None) -> Page[ModelView]:
    """List models, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work.models.page(limit + 1, after)
        page = page_of(rows, limit, lambda row: row, lambda row: row.id)
        return Page(data=_show(work, page.data), has_more=page.has_more, next=page.next)


@router.get("/{model}", responses=raises(errors.ModelNotFound), openapi_extra=needs(Role.VIEWER))
def get_model(model: str, services: WiredServices) -> ModelView:
    """Return a model."""
    with services.platform.transactions(read_only=True) as work:
        return _show(work, [work.models.get(model)])[0]


@router.patch(
    "/{model}",
    responses=raises(errors.ModelNotFound, errors.SuiteNotFound, errors.PolicyNotFound),
    openapi_extra=needs(Role.ADMIN),
)
def change_model(model: str, body: ModelChange, services: WiredServices) -> ModelView:
    """Set the suites and the policy that judge the model's next versions."""
    found = configure_model(services.platform, model, suites=body.suites, policy=body.policy)
    with services.platform.transactions(read_only=True) as work:
        return _show(work, [found])[0]


@router.delete(
    "/{model}",
    status_code=204,
    responses=raises(errors.ModelNotFound, errors.InUse),
    openapi_extra=needs(Role.ADMIN),
)
def delete_model(model: str, services: WiredServices) -> None:
    """Delete a model with its versions, aliases and jobs; its name is free afterwards."""
    deleted = deletion.delete_model(services.platform, model=model)
    delete_exports(services.platform, deleted.id)


def _show(work: UnitOfWork, models: Sequence[Model]) -> list[ModelView]:
    """Return the views of models; the number of queries does not depend on how many they are."""
    suites = work.suites.names({suite for model in models for suite in model.suites})
    policies = work.policies.names({model.policy for model in models})
    aliases: dict[ModelId, dict[str, int]] = {model.id: {} for model in models}
    for alias in work.aliases.all(*aliases):
        aliases.get(alias.model, {})[alias.name] = alias.version
    return [
        ModelView.of(
            model,
            suites=[suites[suite] for suite in model.suites],
            policy=policies[model.policy],
            aliases=aliases[model.id],
        )
        for model in models
    ]
