"""The page that asks the live version, the newest one and the root about an image."""

from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dependencies import CurrentPrincipal, WiredServices
from api.http.routing import PAGES, needs
from api.inference.images import readable_pixels, received_images
from api.pages.browsing import PageRoute, VersionAnswer, ask, versions_to_ask
from api.pages.rendering import TOKEN, page, require_token
from core.errors import PerennialError, VersionNotFound
from core.principal import Role

router = APIRouter(
    prefix=f"{PAGES}/models/{{model}}/try", route_class=PageRoute, include_in_schema=False
)


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_form(model: str, request: Request, services: WiredServices) -> Response:
    """Show the form that takes an image."""
    found, wanted = versions_to_ask(services, model)
    return page(request, "try_it.html", model=found, wanted=wanted, answers=(), refusal=None)


@router.post("", openapi_extra=needs(Role.VIEWER))
async def ask_versions(
    model: str, request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Ask each of the versions which class the image shows; all choose from the same classes."""
    found, wanted = await run_in_threadpool(versions_to_ask, services, model)
    answers: Sequence[VersionAnswer] = ()
    refusal = None
    if not wanted:
        raise VersionNotFound("This model has no versions yet.")
    resolved = [
        await services.find_version(f"{found.name}:{number}", principal) for _, number in wanted
    ]
    fields = [TOKEN, "classes"]
    async with received_images(request, services, resolved[0], fields=fields) as form:
        require_token(request, form.fields.get(TOKEN, ""))
        try:
            pixels = readable_pixels(form.files)[:1]
            classes = _lines(form.fields.get("classes", ""))
            answers = await ask(services, wanted, resolved, pixels, classes)
        except PerennialError as error:
            refusal = error
    part = "hx-request" in request.headers
    return page(
        request,
        "try_it_answers.html" if part else "try_it.html",
        status=200 if part else None,  # htmx shows no part with another one
        model=found,
        wanted=wanted,
        answers=answers,
        refusal=refusal,
    )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
