"""Routes of a model's versions, their weights and their forgetting reports."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header, Response
from pydantic import with_config
from starlette.responses import HTMLResponse, JSONResponse

from api.dependencies import WiredServices
from api.exports.tars import delete_cached_tars, export_path
from api.http.answers import CSV, CSV_CONTENT, IfNoneMatch, answer_download, preferred
from api.http.routing import JSON, Routes, ThreadRoute, raises
from api.http.schemas import (
    AfterNumber,
    Limit,
    Page,
    ReasonQuery,
    VersionNumber,
    number_after,
    page_of,
)
from api.openapi_document import downloads
from api.registry.report_pages import (
    render_report,
    report_csv,
    report_svg,
    style_policy,
    svg_policy,
)
from api.registry.report_record import record_of
from api.registry.schemas import (
    ReportJob,
    VersionSummaryView,
    VersionVerdictView,
    VersionView,
    verdict_view,
    version_summary,
    version_view,
)
from core import errors
from core.bundles.write_evidence import write_evidence
from core.database.work import Work
from core.datasets.version_rows import Suites
from core.engines.rows import EngineChecks
from core.erasure.live import live_marks
from core.evaluation.report import Report
from core.evaluation.rows import Evaluations
from core.gate.rows import Policies
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.read import added_to_line, read_report, report_digest
from core.registry.requirements import settled_ancestors
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.upkeep import delete as deletion

router = Routes(prefix="/v1/models/{model}/versions", tags=["versions"], route_class=ThreadRoute)

TAR, ZIP, HTML = "application/x-tar", "application/zip", "text/html"
SVG = "image/svg+xml"
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}

_DOWNLOADS = downloads(
    TAR,
    errors.ModelNotFound,
    errors.VersionNotFound,
    errors.ArtifactGone,
    errors.LearnedErasedImages,
    errors.ArtifactCorrupt,
    errors.StorageFull,
)

_every_field_is_written = with_config(
    json_schema_serialization_defaults_required=True, extra="forbid"
)

_REPORTS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": _every_field_is_written(Report),
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


@router.get("", Role.VIEWER, errors.ModelNotFound)
def list_versions(
    model: str, services: WiredServices, limit: Limit = 50, after: AfterNumber = None
) -> Page[VersionSummaryView]:
    """List the versions of a model, oldest first; recipes and notes are with each version."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        rows = work[Versions].page(found.id, limit + 1, number_after(after))
        summary = _viewer(work, found)
    return page_of(rows, limit, summary, lambda row: row.number)


@router.get("/{version}", Role.VIEWER, errors.ModelNotFound, errors.VersionNotFound)
def get_version(model: str, version: VersionNumber, services: WiredServices) -> VersionView:
    """Return a version."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
        check = work[EngineChecks].find(wanted.digest)
        return version_view(_viewer(work, found)(wanted), wanted, check)


def _viewer(work: Work, model: Model) -> Callable[[Version], VersionSummaryView]:
    """Return what makes the view of a version of a model in a list."""
    overridden = work[Aliases].overridden(model.id)
    steps = {mark.version: mark.next_step for mark in live_marks(work, [model])}

    def summary(version: Version) -> VersionSummaryView:
        return version_summary(
            version,
            model=model.name,
            overridden=version.number in overridden,
            next_step=steps.get(version.number),
        )

    return summary


@router.delete(
    "/{version}",
    Role.ADMIN,
    errors.ModelNotFound,
    errors.VersionNotFound,
    errors.InUse,
    status_code=204,
)
def delete_version(
    model: str, version: VersionNumber, services: WiredServices, reason: ReasonQuery = ""
) -> None:
    """Delete a version; its number is not given again, and its weights are collected.

    One that was live or has a failed verdict takes a reason, which the audit log keeps.
    """
    deleted = deletion.delete_version(
        services.platform, model=model, version=version, reason=reason
    )
    delete_cached_tars(services.platform, deleted.model, deleted.number)


@router.get("/{version}/download", Role.VIEWER, responses=_DOWNLOADS, response_class=Response)
def download_version(
    model: str,
    version: VersionNumber,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download a version as a tar of the folder that `open_clip` loads; ranges can resume it."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
    wanted.require_weights()
    wanted.require_clean()
    return answer_download(
        wanted.digest,
        if_none_match,
        lambda: export_path(services.platform, found, wanted),
        media_type=TAR,
        filename=f"{found.name}-{wanted.number}.tar",
    )


@router.get("/{version}/verdicts", Role.VIEWER, errors.ModelNotFound, errors.VersionNotFound)
def list_verdicts(
    model: str, version: VersionNumber, services: WiredServices
) -> Page[VersionVerdictView]:
    """List the gate's verdicts on a version and what each of them covers, oldest first.

    An evaluation gives one beside the version's parent and one beside the live version that it was
    compared with. A later one that covers the same takes their place if it is on more images, or on
    as many and no better.
    """
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        judged = work[Versions].get(found.id, version)
        added = added_to_line(work, judged)
        settled = settled_ancestors(work, found, judged)
        rows = work[Verdicts].on(found.id, version)
        suites = work[Suites].names({suite for row in rows for suite in row.suites})
        policies = work[Policies].names({row.policy for row in rows})
    names = {**suites, **policies}
    return Page(data=[verdict_view(row, found, names, added, settled) for row in rows])


@router.get("/{version}/forgetting", Role.VIEWER, responses=_REPORTS, response_class=Response)
def get_forgetting(
    model: str,
    version: VersionNumber,
    services: WiredServices,
    job: ReportJob = None,
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """Return a forgetting report by `Accept`: JSON, a page, its plots as SVG, or a CSV table."""
    wanted = preferred(accept, (JSON, HTML, SVG, CSV))
    with services.platform.transactions(read_only=True) as work:
        found = work[Versions].get(work[Models].get(model).id, version)
        stored = report_digest(found, work[Evaluations].report(found, job))
        record = record_of(work, services.platform.artifacts, found, stored)
    report = read_report(services.platform.artifacts, found, stored)
    headers = {"Vary": "Accept"}
    match wanted:
        case "text/html":
            headers["Content-Security-Policy"] = style_policy()
            return HTMLResponse(
                render_report(report, erased=found.erasure is not None, record=record),
                headers=headers,
            )
        case "image/svg+xml":
            headers["Content-Security-Policy"] = svg_policy()
            return Response(report_svg(report), media_type=SVG, headers=headers)
        case "text/csv":
            return Response(report_csv(report), media_type=CSV, headers=headers)
    return JSONResponse(report, headers=headers)


@router.get(
    "/{version}/forgetting/evidence",
    Role.VIEWER,
    responses={
        200: {"content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}},
        **raises(
            errors.ModelNotFound,
            errors.VersionNotFound,
            errors.ReportNotFound,
            errors.EvaluationPending,
            errors.ArtifactMissing,
            errors.ArtifactCorrupt,
        ),
    },
    response_class=Response,
)
def get_evidence(
    model: str, version: VersionNumber, services: WiredServices, job: ReportJob = None
) -> Response:
    """Download all that a report's verdict follows from, signed if the service has a key.

    The zip has the report, what each version answered about each test image (by the digest of its
    pixels), and the policy. `perennial verify` recomputes the verdict from it, without the service.
    """
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        judged = work[Versions].get(found.id, version)
        stored = work[Evaluations].report(judged, job)
    report = report_digest(judged, stored)
    file = write_evidence(services.platform, services.signatures, judged, report)
    name = f"{found.name}-{judged.number}-evidence.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(file, media_type=ZIP, headers=headers)
