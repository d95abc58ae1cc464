"""The page that labels images of an unlabelled suite, one after another."""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from api.datasets.schemas import Pixels
from api.dependencies import WiredServices
from api.gate.pages import newest_judged
from api.http.answers import IfNoneMatch, image_answer
from api.http.routing import PAGES, Routes
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm, Text
from api.pages.rendering import PageRequest
from core.datasets.labels import NO_CLASS, label_images, suite_form
from core.datasets.version_rows import Suites
from core.errors import EvaluationPending, PerennialError
from core.evaluation.to_label import images_to_label
from core.principal import Role
from core.registry.rows import Models
from core.values import Digest

router = Routes(prefix=f"{PAGES}/suites/{{suite}}", route_class=PageRoute, include_in_schema=False)

BUTTONS = 30  # classes; of more, one is typed


@router.get("/label", Role.ADMIN)
def show_image(suite: str, asked: PageRequest, version: Text = "") -> Response:
    """Show the first image that has to be labelled, without what the versions answered."""
    return _show(asked, suite, version)


@router.post("/label", Role.ADMIN)
def label_image(suite: str, asked: PageRequest, fields: SentForm) -> Response:
    """Label the image that was shown, and show the next one."""
    version = fields.get("version", "")
    try:
        with asked.platform.transactions(read_only=True) as work:
            classes = work[Suites].newest(suite).classes
        given = _class_in(fields, classes)
        [receipt] = label_images(
            asked.platform, suite=suite, labels=[(fields.get("pixels", ""), given)]
        )
        if receipt.refusal is not None:
            raise receipt.refusal
    except PerennialError as refusal:
        return _show(asked, suite, version, refusal)
    query = urlencode({"version": version})
    return RedirectResponse(f"{PAGES}/suites/{suite}/label?{query}", 303)


def _class_in(fields: Mapping[str, str], classes: tuple[str, ...]) -> str:
    """Return the class that was pressed or typed; a number stands for one unless it is a class."""
    given = fields.get("class") or fields.get("typed", "")
    if given.lower() in {name.lower() for name in classes}:
        return given
    numbered = {str(number): name for number, name in enumerate((NO_CLASS, *classes))}
    return numbered.get(given, given)


def _show(
    asked: PageRequest, suite: str, version: str, refusal: PerennialError | None = None
) -> Response:
    platform = asked.platform
    with platform.transactions(read_only=True) as work:
        found = work[Suites].newest(suite)
        judged = work[Models].judged([found.id]).get(found.id, ())
        models = [work[Models].get(name) for name in judged]
    newest = ((model, newest_judged(platform, model)) for model in models)
    versions = [f"{model.name}:{one[0].number}" for model, one in newest if one]
    version = version or next(iter(versions), "")
    entries = None
    if version:
        try:
            found, entries = images_to_label(platform, suite=suite, reference=version)
        except EvaluationPending as pending:
            refusal = refusal or pending
    return asked.page(
        "administration/label.html",
        suite=found,
        version=version,
        versions=versions,
        image=entries[0].pixels if entries else None,
        left=None if entries is None else len(entries),
        buttons=len(found.classes) <= BUTTONS,
        no_class=NO_CLASS,
        refusal=refusal,
    )


@router.get("/images/{pixels}", Role.VIEWER)
def get_image(
    suite: str, pixels: Pixels, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return an image of a suite as it is stored."""
    artifact = suite_form(services.platform, suite=suite, pixels=Digest(pixels))
    return image_answer(services, artifact, if_none_match)
