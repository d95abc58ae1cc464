"""The questions whether a model or a version is deleted."""

from starlette.responses import RedirectResponse, Response

from api.http.routing import PAGES, Routes
from api.http.schemas import VersionNumber
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm
from api.pages.questions import Question, ask
from api.pages.rendering import PageRequest
from api.registry import routes, version_routes
from core.errors import PerennialError
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.rows import Models, Versions
from core.values import counted

router = Routes(prefix=f"{PAGES}/models/{{model}}", route_class=PageRoute, include_in_schema=False)


@router.get("/deletion", Role.ADMIN)
def ask_about_model(model: str, asked: PageRequest) -> Response:
    """Say what is lost with a model."""
    return _ask_about_model(asked, model)


@router.post("/deletion", Role.ADMIN)
def delete_model(model: str, asked: PageRequest, _form: SentForm) -> Response:
    """Delete a model."""
    try:
        routes.delete_model(model, asked.services)
    except PerennialError as refusal:
        return _ask_about_model(asked, model, refusal)
    return RedirectResponse(PAGES, 303)


def _ask_about_model(
    asked: PageRequest, model: str, refusal: PerennialError | None = None
) -> Response:
    with asked.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        count = len(work[Versions].all(found.id))
        aliases = [f"{one.name} (version {one.version})" for one in work[Aliases].all(found.id)]
    here = f"{PAGES}/models/{found.name}"
    question = Question(
        title=f"Delete the model {found.name}",
        lost=[
            f"{counted(count, 'version')} with weights, reports, exports and trials, the history "
            "of what was live, and its jobs are deleted for good.",
            f"Whoever asks for {found.name} gets no answer any more"
            + (f": {', '.join(aliases)}." if aliases else "."),
            "Datasets, suites and policies stay.",
        ],
        action=f"{here}/deletion",
        back=here,
    )
    return ask(asked, question, refusal)


@router.get("/versions/{version}/deletion", Role.ADMIN)
def ask_about_version(model: str, version: VersionNumber, asked: PageRequest) -> Response:
    """Say what is lost with a version."""
    return _ask_about_version(asked, model, version)


@router.post("/versions/{version}/deletion", Role.ADMIN)
def delete_version(
    model: str, version: VersionNumber, asked: PageRequest, _form: SentForm
) -> Response:
    """Delete a version."""
    try:
        version_routes.delete_version(model, version, asked.services)
    except PerennialError as refusal:
        return _ask_about_version(asked, model, version, refusal)
    return RedirectResponse(f"{PAGES}/models/{model}", 303)


def _ask_about_version(
    asked: PageRequest, model: str, version: int, refusal: PerennialError | None = None
) -> Response:
    with asked.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
    here = f"{PAGES}/models/{found.name}/versions/{wanted.number}"
    question = Question(
        title=f"Delete version {wanted.number} of {found.name}",
        lost=[
            "Its weights, its report and its exports are deleted for good; its number is not given "
            "again.",
            "A version that an alias points at, that another was trained from, or that a job or a "
            "trial needs is not deleted.",
        ],
        action=f"{here}/deletion",
        back=here,
    )
    return ask(asked, question, refusal)
