"""The files of a version: its folder, and its exports, which are ordered, downloaded, deleted."""

from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal, WiredServices, job_request
from api.exports import routes
from api.http.answers import IfNoneMatch
from api.http.routing import PAGES, Routes
from api.http.schemas import VersionNumber
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm, choice_field, fresh_key, sent_key
from api.pages.questions import Question, ask
from api.pages.rendering import PageRequest, tell_next
from api.registry.schemas import ReportJob
from api.registry.version_routes import download_version, get_evidence
from core.errors import PerennialError
from core.exports.make import order_export
from core.exports.rows import Exports
from core.jobs.orders import ExportOrder
from core.principal import Role
from core.registry.exports import ExportFormat
from core.registry.rows import Models
from core.registry.version_rows import Versions

router = Routes(
    prefix=f"{PAGES}/models/{{model}}/versions/{{version}}",
    route_class=PageRoute,
    include_in_schema=False,
)

FORMATS = {
    ExportFormat.OPEN_CLIP: "open_clip: the same folder, and a record of its check",
    ExportFormat.HUGGINGFACE: "Hugging Face transformers",
    ExportFormat.ONNX: "ONNX, a file for each tower",
    ExportFormat.ONNX_INT8: "ONNX with weights of 8 bits",
    ExportFormat.BUNDLE: "a signed bundle for another Perennial",
}


@router.get("/files", Role.VIEWER)
def show_files(model: str, version: VersionNumber, asked: PageRequest) -> Response:
    """Show what can be downloaded of a version, and the form that orders an export."""
    return _show(asked, model, version)


@router.post("/exports", Role.CONTRIBUTOR)
def export_version(
    model: str,
    version: VersionNumber,
    asked: PageRequest,
    principal: CurrentPrincipal,
    fields: SentForm,
) -> Response:
    """Order an export and show its job; a form that is sent twice orders one."""
    try:
        job = order_export(
            asked.platform,
            asked.services.notifier,
            job_request(asked.request, principal, *sent_key(fields)),
            model=model,
            order=ExportOrder(version=version, format=choice_field(fields, "format", ExportFormat)),
        )
    except PerennialError as refusal:
        return _show(asked, model, version, refusal)
    return RedirectResponse(f"{PAGES}/jobs/{job.id}", 303)


@router.get("/download", Role.VIEWER)
def download(
    model: str, version: VersionNumber, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Download a version, as the API gives it."""
    return download_version(model, version, services, if_none_match)


@router.get("/evidence", Role.VIEWER)
def download_evidence(
    model: str, version: VersionNumber, services: WiredServices, job: ReportJob = None
) -> Response:
    """Download the evidence of a report, as the API gives it."""
    return get_evidence(model, version, services, job)


@router.get("/exports/{export_format}/download", Role.VIEWER)
def download_export(
    model: str,
    version: VersionNumber,
    export_format: ExportFormat,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download an export, as the API gives it."""
    return routes.download_export(model, version, export_format, services, if_none_match)


@router.get("/exports/{export_format}/deletion", Role.CONTRIBUTOR)
def ask_about_export(
    model: str, version: VersionNumber, export_format: ExportFormat, asked: PageRequest
) -> Response:
    """Ask whether an export is deleted."""
    routes.get_export(model, version, export_format, asked.services)
    here = f"{PAGES}/models/{model}/versions/{version}"
    question = Question(
        title=f"Delete the export of version {version} as {export_format}",
        lost=["Its file is deleted. The version stays, and can be exported again."],
        action=f"{here}/exports/{export_format}/deletion",
        back=f"{here}/files",
    )
    return ask(asked, question)


@router.post("/exports/{export_format}/deletion", Role.CONTRIBUTOR)
def delete_export(
    model: str,
    version: VersionNumber,
    export_format: ExportFormat,
    asked: PageRequest,
    _form: SentForm,
) -> Response:
    """Delete an export."""
    routes.delete_export(model, version, export_format, asked.services)
    then = RedirectResponse(f"{PAGES}/models/{model}/versions/{version}/files", 303)
    return tell_next(asked, then, f"The export as {export_format} was deleted.")


def _show(
    asked: PageRequest, model: str, version: int, refusal: PerennialError | None = None
) -> Response:
    with asked.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
        exports = work[Exports].all(found.id, wanted.number)
    return asked.page(
        "files.html",
        model=found,
        version=wanted,
        exports=exports,
        formats=FORMATS,
        key=fresh_key(),
        refusal=refusal,
    )
