"""The page that asks the live version, the newest one and the root about an image."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Response
from starlette.concurrency import run_in_threadpool

from api.dependencies import CurrentPrincipal, Services
from api.http.routing import PAGES, Routes
from api.inference.images import readable_pixels, received_images
from api.pages.browsing import PageRoute
from api.pages.forms import TOKEN, require_token
from api.pages.rendering import PageRequest
from core.errors import PerennialError, VersionNotFound
from core.inference.classify import Resolved, classification_of
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model

router = Routes(
    prefix=f"{PAGES}/models/{{model}}/try", route_class=PageRoute, include_in_schema=False
)

SHOWN = 5  # classes of an answer


@dataclass(frozen=True, kw_only=True)
class VersionAnswer:
    """The most probable classes that a version sees in an image, and their probabilities."""

    role: str
    version: int
    classes: Sequence[tuple[str, float]]


@router.get("", Role.VIEWER)
def show_form(model: str, asked: PageRequest) -> Response:
    """Show the form that takes an image."""
    found, wanted = versions_to_ask(asked.services, model)
    return asked.page("try_it.html", model=found, wanted=wanted, answers=(), refusal=None)


@router.post("", Role.VIEWER)
async def ask_versions(model: str, asked: PageRequest, principal: CurrentPrincipal) -> Response:
    """Ask each of the versions which class the image shows; all choose from the same classes."""
    found, wanted = await run_in_threadpool(versions_to_ask, asked.services, model)
    answers: Sequence[VersionAnswer] = ()
    refusal = None
    if not wanted:
        raise VersionNotFound("This model has no versions yet.")
    resolved = [
        await asked.services.find_version(f"{found.name}:{number}", principal)
        for _, number in wanted
    ]
    fields = [TOKEN, "classes"]
    async with received_images(asked.request, asked.services, resolved[0], fields=fields) as form:
        require_token(asked.request, form.fields.get(TOKEN, ""))
        try:
            pixels = readable_pixels(form.files)[:1]
            lines = form.fields.get("classes", "").splitlines()
            classes = [line.strip() for line in lines if line.strip()]
            answers = await ask(asked.services, wanted, resolved, pixels, classes)
        except PerennialError as error:
            refusal = error
    part = "hx-request" in asked.request.headers
    return asked.page(
        "try_it_answers.html" if part else "try_it.html",
        status=200 if part else None,  # htmx shows no part with another one
        model=found,
        wanted=wanted,
        answers=answers,
        refusal=refusal,
    )


def versions_to_ask(services: Services, model: str) -> tuple[Model, list[tuple[str, int]]]:
    """Return the model, and the roles and numbers of the versions to ask, each once."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        live = work[Aliases].find(found.id, PRODUCTION)
        newest = work[Versions].newest(found.id)
    named = [("live", live and live.version), ("newest", newest and newest.number), ("root", 1)]
    wanted: dict[int, str] = {}
    for role, number in named:
        if number and newest:
            wanted[number] = f"{wanted[number]}, {role}" if number in wanted else role
    return found, [(role, number) for number, role in wanted.items()]


async def ask(
    services: Services,
    wanted: Sequence[tuple[str, int]],
    resolved: Sequence[Resolved],
    pixels: Sequence[bytes],
    classes: Sequence[str] = (),
) -> list[VersionAnswer]:
    """Return what each version says about an image, given the pixels that all of them take.

    Without classes they choose from those of the version that has learned most.
    """
    if not classes:
        classes = max((one.version.classes for one in resolved), key=len)
    top_k, answers = min(SHOWN, len(classes)), []
    for (role, number), one in zip(wanted, resolved, strict=True):
        asked = classification_of(one, classes)
        (answer,) = await services.inference.answer(asked, pixels, top_k=top_k)
        shown = [(str(row["class"]), float(row["probability"])) for row in answer.predictions]
        answers.append(VersionAnswer(role=role, version=number, classes=shown))
    return answers
