"""The questions whether a model or a version is deleted."""

from starlette.responses import Response

from api.http.routing import PAGES, Routes
from api.http.schemas import VersionNumber
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm, optional_reason_field
from api.pages.questions import Question, ask, carry_out
from api.pages.rendering import PageRequest
from api.registry import routes, version_routes
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.upkeep.delete import COUNTED, requires_reason, was_taught
from core.values import counted

router = Routes(prefix=f"{PAGES}/models/{{model}}", route_class=PageRoute, include_in_schema=False)


@router.get("/deletion", Role.ADMIN)
def ask_about_model(model: str, asked: PageRequest) -> Response:
    """Say what is lost with a model."""
    return ask(asked, _about_model(asked, model))


@router.post("/deletion", Role.ADMIN)
def delete_model(model: str, asked: PageRequest, fields: SentForm) -> Response:
    """Delete a model."""

    def delete() -> None:
        routes.delete_model(model, asked.services, optional_reason_field(fields))

    return carry_out(asked, _about_model(asked, model), delete, then=PAGES, sent=fields)


def _about_model(asked: PageRequest, model: str) -> Question:
    with asked.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        count = len(work[Versions].all(found.id))
        taught = was_taught(work, found)
        aliases = [f"{one.name} (version {one.version})" for one in work[Aliases].all(found.id)]
    here = f"{PAGES}/models/{found.name}"
    return Question(
        title=f"Delete the model {found.name}",
        done=f"The model {found.name} was deleted.",
        lost=[
            f"{counted(count, 'version')} with weights, reports, exports and trials, the history "
            "of what was live, and its jobs are deleted for good.",
            f"Whoever asks for {found.name} gets no answer any more"
            + (f": {', '.join(aliases)}." if aliases else "."),
            "Datasets, suites and policies stay.",
        ],
        action=f"{here}/deletion",
        back=here,
        wants_reason=taught,
    )


@router.get("/versions/{version}/deletion", Role.ADMIN)
def ask_about_version(model: str, version: VersionNumber, asked: PageRequest) -> Response:
    """Say what is lost with a version."""
    return ask(asked, _about_version(asked, model, version))


@router.post("/versions/{version}/deletion", Role.ADMIN)
def delete_version(
    model: str, version: VersionNumber, asked: PageRequest, fields: SentForm
) -> Response:
    """Delete a version."""
    question, then = _about_version(asked, model, version), f"{PAGES}/models/{model}"

    def delete() -> None:
        reason = optional_reason_field(fields)
        version_routes.delete_version(model, version, asked.services, reason)

    return carry_out(asked, question, delete, then=then, sent=fields)


def _about_version(asked: PageRequest, model: str, version: int) -> Question:
    with asked.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
        counted_on = requires_reason(work, wanted)
    here = f"{PAGES}/models/{found.name}/versions/{wanted.number}"
    return Question(
        title=f"Delete version {wanted.number} of {found.name}",
        done=f"Version {wanted.number} of {found.name} was deleted.",
        lost=[
            "Its weights, its report and its exports are deleted for good; its number is not given "
            "again.",
            "A version that an alias points at, that another was trained from, or that a job or a "
            "trial needs is not deleted.",
            *([f"It {COUNTED}, so the audit log keeps why it is deleted."] if counted_on else []),
        ],
        wants_reason=counted_on,
        action=f"{here}/deletion",
        back=here,
    )
