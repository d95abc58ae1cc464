"""Routes of a model's versions, their weights and their forgetting reports."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.responses import HTMLResponse, JSONResponse
from starlette.responses import Response as responses_Response

from api.datasets.schemas import NewPolicy, PolicyView
from api.dependencies import CurrentPrincipal, IdempotencyKey, WiredServices, job_request
from api.exports.routes import delete_exports, export_path
from api.http.answers import IfNoneMatch, answer_download, preferred
from api.http.routing import ThreadRoute, needs
from api.http.schemas import After, AfterNumber, Limit, Page, VersionNumber, number_after, page_of
from api.jobs.routes import accepted
from api.jobs.schemas import JobView
from api.openapi_document import downloads, raises
from api.pages.rendering import CSV, CSV_CONTENT
from api.registry.report_pages import (
    render_report,
    report_csv,
    report_svg,
    style_policy,
    svg_policy,
)
from api.registry.schemas import ModelChange, ModelView, NewModel, ReportView, VersionView
from core import errors
from core.bases.create_model import create_model
from core.database.work import Work
from core.datasets.version_rows import Suites
from core.gate.policies import create_policy
from core.gate.rows import Policies
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.configure import configure_model
from core.registry.read import read_report
from core.registry.rows import Models, Versions
from core.registry.versions import Model, Version
from core.upkeep import delete as deletion
from core.values import ModelId, PolicyId, new_id

# Routes of models.


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
        rows = work[Models].page(limit + 1, after)
        page = page_of(rows, limit, lambda row: row, lambda row: row.id)
        return Page(data=_show(work, page.data), has_more=page.has_more, next=page.next)


@router.get("/{model}", responses=raises(errors.ModelNotFound), openapi_extra=needs(Role.VIEWER))
def get_model(model: str, services: WiredServices) -> ModelView:
    """Return a model."""
    with services.platform.transactions(read_only=True) as work:
        return _show(work, [work[Models].get(model)])[0]


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


def _show(work: Work, models: Sequence[Model]) -> list[ModelView]:
    """Return the views of models; the number of queries does not depend on how many they are."""
    suites = work[Suites].names({suite for model in models for suite in model.suites})
    policies = work[Policies].names({model.policy for model in models})
    aliases: dict[ModelId, dict[str, int]] = {model.id: {} for model in models}
    for alias in work[Aliases].all(*aliases):
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


# Routes of gate policies.


policies_router = APIRouter(prefix="/v1/gate-policies", tags=["suites"], route_class=ThreadRoute)


@policies_router.post(
    "",
    status_code=201,
    responses=raises(errors.NameInvalid, errors.NameTaken),
    openapi_extra=needs(Role.ADMIN),
)
def make_policy(body: NewPolicy, services: WiredServices, response: Response) -> PolicyView:
    """Create a gate policy, which sets how much a version may forget before the gate fails it."""
    now = services.platform.clock()
    policy = create_policy(services.platform, body.policy(PolicyId(new_id("gate", now)), now))
    response.headers["Location"] = f"/v1/gate-policies/{policy.name}"
    return PolicyView.of(policy)


@policies_router.get("", openapi_extra=needs(Role.VIEWER))
def list_policies(
    services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[PolicyView]:
    """List gate policies, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Policies].page(limit + 1, after)
    return page_of(rows, limit, PolicyView.of, lambda row: row.id)


@policies_router.get(
    "/{policy}", responses=raises(errors.PolicyNotFound), openapi_extra=needs(Role.VIEWER)
)
def get_policy(policy: str, services: WiredServices) -> PolicyView:
    """Return a gate policy."""
    with services.platform.transactions(read_only=True) as work:
        return PolicyView.of(work[Policies].get(policy))


versions_router = APIRouter(
    prefix="/v1/models/{model}/versions", tags=["versions"], route_class=ThreadRoute
)

TAR, JSON, HTML = "application/x-tar", "application/json", "text/html"

SVG = "image/svg+xml"

_TEXT: dict[str, Any] = {"schema": {"type": "string"}}

_DOWNLOADS = downloads(
    TAR,
    errors.ModelNotFound,
    errors.VersionNotFound,
    errors.ArtifactGone,
    errors.ArtifactCorrupt,
    errors.StorageFull,
)

_REPORTS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ReportView,
        "content": {HTML: _TEXT, SVG: _TEXT, **CSV_CONTENT},
    },
    **raises(
        errors.ModelNotFound,
        errors.VersionNotFound,
        errors.ReportNotFound,
        errors.EvaluationPending,
        errors.ReportUnreadable,
        errors.NotAcceptable,
    ),
}


@versions_router.get("", responses=raises(errors.ModelNotFound), openapi_extra=needs(Role.VIEWER))
def list_versions(
    model: str, services: WiredServices, limit: Limit = 50, after: AfterNumber = None
) -> Page[VersionView]:
    """List the versions of a model, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        rows = work[Versions].page(found.id, limit + 1, number_after(after))
        overridden = work[Aliases].overridden(found.id)
    return page_of(
        rows, limit, lambda row: _versions_show(row, found, overridden), lambda row: row.number
    )


@versions_router.get(
    "/{version}",
    responses=raises(errors.ModelNotFound, errors.VersionNotFound),
    openapi_extra=needs(Role.VIEWER),
)
def get_version(model: str, version: VersionNumber, services: WiredServices) -> VersionView:
    """Return a version."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
        return _versions_show(wanted, found, work[Aliases].overridden(found.id))


@versions_router.delete(
    "/{version}",
    status_code=204,
    responses=raises(errors.ModelNotFound, errors.VersionNotFound, errors.InUse),
    openapi_extra=needs(Role.ADMIN),
)
def delete_version(model: str, version: VersionNumber, services: WiredServices) -> None:
    """Delete a version; its number is not given again, and its weights are collected."""
    deleted = deletion.delete_version(services.platform, model=model, version=version)
    delete_exports(services.platform, deleted.model, deleted.number)


@versions_router.get(
    "/{version}/download",
    responses=_DOWNLOADS,
    response_class=responses_Response,
    openapi_extra=needs(Role.VIEWER),
)
def download_version(
    model: str,
    version: VersionNumber,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> responses_Response:
    """Download a version as a tar of the folder that `open_clip` loads; ranges can resume it."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
    wanted.require_weights()
    return answer_download(
        wanted.digest,
        if_none_match,
        lambda: export_path(services.platform, found, wanted),
        media_type=TAR,
        filename=f"{found.name}-{wanted.number}.tar",
    )


@versions_router.get(
    "/{version}/forgetting",
    responses=_REPORTS,
    response_class=responses_Response,
    openapi_extra=needs(Role.VIEWER),
)
def get_forgetting(
    model: str,
    version: VersionNumber,
    services: WiredServices,
    accept: Annotated[str | None, Header()] = None,
) -> responses_Response:
    """Return the forgetting report by `Accept`: JSON, a page, its plots as SVG, or a CSV table."""
    wanted = preferred(accept, (JSON, HTML, SVG, CSV))
    with services.platform.transactions(read_only=True) as work:
        found = work[Versions].get(work[Models].get(model).id, version)
    report = read_report(services.platform.artifacts, found)
    headers = {"Vary": "Accept"}
    match wanted:
        case "text/html":
            headers["Content-Security-Policy"] = style_policy()
            return HTMLResponse(render_report(report), headers=headers)
        case "image/svg+xml":
            headers["Content-Security-Policy"] = svg_policy()
            return responses_Response(report_svg(report), media_type=SVG, headers=headers)
        case "text/csv":
            return responses_Response(report_csv(report), media_type=CSV, headers=headers)
    return JSONResponse(report, headers=headers)


def _versions_show(version: Version, model: Model, overridden: Collection[int]) -> VersionView:
    return VersionView.of(version, model=model.name, overridden=version.number in overridden)
