"""The page of first steps: from the bundled model to a version that is promoted and rolled back."""

from collections.abc import Callable, Sequence
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal, job_request
from api.http.routing import FIRST_STEPS, PAGES, Routes, page_path
from api.inference.pages import VersionAnswer, ask, versions_to_ask
from api.pages.browsing import PageRoute, path_of
from api.pages.forms import SentForm, whole_field
from api.pages.rendering import STEPS_COOKIE, PageRequest
from core.errors import ImageNotFound, PerennialError
from core.first_steps import first_steps
from core.first_steps.first_steps import TITLES, Step, read_progress
from core.principal import Principal, Role

router = Routes(prefix=FIRST_STEPS, route_class=PageRoute, include_in_schema=False)

YEAR_S = 365 * 86_400

INDICES = [str(index) for index in range(first_steps.CLASSES)]

Order = Callable[..., object]


@router.get("", Role.VIEWER)
def show_first_steps(asked: PageRequest) -> Response:
    """Show the steps; a page that follows a job is loaded again when that has ended."""
    if "hx-request" in asked.request.headers and not read_progress(asked.platform).waits:
        return Response(headers={"HX-Refresh": "true"})
    return _show(asked)


@router.post("/images", Role.CONTRIBUTOR)
def load_images(asked: PageRequest, principal: CurrentPrincipal, _form: SentForm) -> Response:
    """Load the pack's images."""
    return _order(asked, principal, Step.IMAGES, first_steps.load_images)


@router.post("/model", Role.ADMIN)
def make_model(asked: PageRequest, principal: CurrentPrincipal, _form: SentForm) -> Response:
    """Make the model and what judges it."""
    return _order(asked, principal, Step.MODEL, first_steps.make_model)


@router.post("/teach", Role.CONTRIBUTOR)
def teach(asked: PageRequest, principal: CurrentPrincipal, _form: SentForm) -> Response:
    """Teach the model five classes."""
    return _order(asked, principal, Step.TEACH, first_steps.teach)


@router.post("/dismissal", Role.VIEWER)
def hide_bar(asked: PageRequest, _form: SentForm) -> Response:
    """Show the bar that leads to the next step no more, in this browser."""
    came_from = path_of(asked.request.headers.get("referer", ""))
    response = RedirectResponse(page_path(came_from), 303)
    secure = asked.request.url.scheme == "https"
    response.set_cookie(
        STEPS_COOKIE, "hidden", max_age=YEAR_S, path=PAGES, secure=secure, samesite="strict"
    )
    return response


@router.get("/samples/{index}", Role.VIEWER)
def get_sample(index: str) -> Response:
    """Return an image that no version has seen."""
    return Response(_sample(index), media_type="image/webp")


@router.post("/classify", Role.VIEWER)
async def classify_sample(
    asked: PageRequest, principal: CurrentPrincipal, fields: SentForm
) -> Response:
    """Ask the versions about an image that none has seen."""
    sample = whole_field(fields, "sample")
    data = await run_in_threadpool(_sample, str(sample))
    found, wanted = await run_in_threadpool(versions_to_ask, asked.services, first_steps.MODEL)
    answers: Sequence[VersionAnswer] = ()
    refusal = None
    try:
        resolved = [
            await asked.services.find_version(f"{found.name}:{n}", principal) for _, n in wanted
        ]
        with asked.services.pixels.request() as take:
            take(resolved[0].input.size)
            decode = partial(asked.services.decoder.pixels, data, resolved[0].input)
            pixels = await asked.services.decoding.run(decode)
            answers = await ask(asked.services, wanted, resolved, [pixels])
    except PerennialError as error:
        refusal = error
    return await run_in_threadpool(
        partial(_show, asked, answers=answers, refusal=refusal, sample=sample)
    )


def _order(asked: PageRequest, principal: Principal, step: Step, order: Order) -> Response:
    """Order what a step needs, unless it is done or under way: a second press does nothing."""
    ordered_by = job_request(asked.request, principal, None, None)
    try:
        progress = read_progress(asked.platform)
        if step in progress.now and not progress.waits:
            order(asked.platform, asked.services.notifier, ordered_by)
    except PerennialError as refusal:
        return _show(asked, refusal=refusal)
    return RedirectResponse(f"{FIRST_STEPS}#{step.value}", 303)


def _show(
    asked: PageRequest,
    *,
    answers: Sequence[VersionAnswer] = (),
    refusal: PerennialError | None = None,
    sample: int | None = None,
) -> Response:
    has_pack = first_steps.has_pack()
    return asked.page(
        "first_steps.html",
        progress=read_progress(asked.platform),
        titles={step.value: title for step, title in TITLES.items()},
        has_pack=has_pack,
        classes=first_steps.product_classes() if has_pack else (),
        model=first_steps.MODEL,
        datasets=(first_steps.PRODUCTS, first_steps.EMOJI),
        answers=answers,
        refusal=refusal,
        sample=sample,
    )


def _sample(index: str) -> bytes:
    try:
        return first_steps.sample(INDICES.index(index))
    except (ValueError, IndexError) as error:
        raise ImageNotFound from error
