"""The page that asks the live version, the newest one and the root about an image."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.forms.uploads import Form
from api.http.paths import PAGES
from api.http.problems import status_of
from api.http.required_role import needs
from api.pages.browser.forms import TOKEN, require_token
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.tower_images import ReceivedImage, readable_pixels, received_images
from core.domain.access.roles import Role
from core.domain.registry.alias import PRODUCTION
from core.domain.registry.version import Model
from core.errors import PerennialError, VersionNotFound
from core.use_cases.inference.classify import Resolved, classification_of, known_classes

router = APIRouter(
    prefix=f"{PAGES}/models/{{model}}/try", route_class=PageRoute, include_in_schema=False
)

SHOWN = 5  # classes of an answer


@dataclass(frozen=True, kw_only=True)
class Said:
    """The most probable classes that a version sees in an image, and their probabilities."""

    role: str
    version: int
    classes: Sequence[tuple[str, float]]


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_form(model: str, request: Request, services: WiredServices) -> Response:
    """Show the form that takes an image."""
    found, wanted = _wanted(services, model)
    return page(request, "try_it.html", model=found, wanted=wanted, said=(), refusal=None)


@router.post("", openapi_extra=needs(Role.VIEWER))
async def ask_versions(
    model: str, request: Request, services: WiredServices, asking: CurrentPrincipal
) -> Response:
    """Ask each of the versions which class the image shows; all choose from the same classes."""
    found, wanted = await run_in_threadpool(_wanted, services, model)
    said: Sequence[Said] = ()
    refusal = None
    if not wanted:
        raise VersionNotFound("This model has no version yet.")
    resolved = [
        await services.find_version(f"{found.name}:{number}", asking) for _, number in wanted
    ]
    fields = [TOKEN, "classes"]
    async with received_images(request, services, resolved[0], fields=fields) as form:
        require_token(request, form.fields.get(TOKEN, ""))
        try:
            said = await _ask(services, wanted, resolved, form)
        except PerennialError as error:
            refusal = error
    part = "hx-request" in request.headers
    return page(
        request,
        "try_it_answers.html" if part else "try_it.html",
        status=status_of(type(refusal)) if refusal and not part else 200,
        model=found,
        wanted=wanted,
        said=said,
        refusal=refusal,
    )


def _wanted(services: Services, model: str) -> tuple[Model, list[tuple[str, int]]]:
    """Return the model, and the roles and numbers of the versions to ask, each once."""
    with services.platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        live = work.aliases.find(found.id, PRODUCTION)
        newest = work.versions.newest(found.id)
    named = [("live", live and live.version), ("newest", newest and newest.number), ("root", 1)]
    wanted: dict[int, str] = {}
    for role, number in named:
        if number and newest:
            wanted[number] = f"{wanted[number]}, {role}" if number in wanted else role
    return found, [(role, number) for number, role in wanted.items()]


async def _ask(
    services: Services,
    wanted: Sequence[tuple[str, int]],
    resolved: Sequence[Resolved],
    form: Form[ReceivedImage],
) -> list[Said]:
    """Return what each version says about the first image of a form.

    Without classes in the form, they are those of the version that has learned most.
    """
    pixels = readable_pixels(form.files)[:1]
    classes: Sequence[str] = _lines(form.fields.get("classes", ""))
    if not classes:
        most = max(resolved, key=lambda one: len(one.version.classes))
        classes = await run_in_threadpool(known_classes, services.platform, most)
    top_k, said = min(SHOWN, len(classes)), []
    for (role, number), one in zip(wanted, resolved, strict=True):
        asked = classification_of(one, classes)
        (answer,) = await services.inference.answer(asked, pixels, top_k=top_k)
        shown = [(str(row["class"]), float(row["probability"])) for row in answer.predictions]
        said.append(Said(role=role, version=number, classes=shown))
    return said


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
