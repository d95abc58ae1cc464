"""The page that orders an update from a dataset version, after advice on it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from anyio.to_thread import run_sync
from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal, job_request
from api.http.routing import PAGES, Routes
from api.http.schemas import VersionNumber
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm, Text, fresh_key, sent_key
from api.pages.rendering import PageRequest
from core.advice.advise import advise
from core.advice.rules import Advice
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetRef
from core.errors import FieldInvalid, PerennialError
from core.jobs.orders import UpdateOrder
from core.principal import Principal, Role
from core.recipes.fields import Method
from core.recipes.rules import Recipe
from core.registry.aliases import PRODUCTION
from core.registry.rows import Models
from core.training.order import order_update
from core.values import DatasetId, Json

router = Routes(
    prefix=f"{PAGES}/datasets/{{dataset}}/versions/{{version}}/update",
    route_class=PageRoute,
    include_in_schema=False,
)

MODELS = 200  # to choose from

Fields = Mapping[str, str]


@router.get("", Role.CONTRIBUTOR)
def show_order(
    dataset: str, version: VersionNumber, asked: PageRequest, model: Text = ""
) -> Response:
    """Show the form of an order, by default for the model that the dataset taught first."""
    return _show(asked, dataset, version, model=model)


@router.post("/advice", Role.CONTRIBUTOR)
async def show_advice(
    dataset: str,
    version: VersionNumber,
    asked: PageRequest,
    principal: CurrentPrincipal,
    fields: SentForm,
) -> Response:
    """Advise on the order, which is a dry run, and show the form again with the advice."""
    services = asked.services

    def answer() -> Response:
        try:
            advice = advise(
                services.platform,
                services.inference,
                services.decoder,
                model=fields.get("model", ""),
                order=_with_newest(asked, _order(dataset, version, fields, principal)),
            )
        except PerennialError as refusal:
            return _show(asked, dataset, version, fields, refusal=refusal)
        return _show(asked, dataset, version, fields, advice=advice)

    return await run_sync(answer, limiter=services.advising)


@router.post("", Role.CONTRIBUTOR)
def order(
    dataset: str,
    version: VersionNumber,
    asked: PageRequest,
    principal: CurrentPrincipal,
    fields: SentForm,
) -> Response:
    """Order the update and show its job; a form that is sent twice orders one."""
    try:
        job = order_update(
            asked.platform,
            asked.services.notifier,
            job_request(asked.request, principal, *sent_key(fields)),
            model=fields.get("model", ""),
            order=_order(dataset, version, fields, principal),
        )
    except PerennialError as refusal:
        return _show(asked, dataset, version, fields, refusal=refusal)
    return RedirectResponse(f"{PAGES}/jobs/{job.id}", 303)


def _order(dataset: str, version: int, fields: Fields, principal: Principal) -> UpdateOrder:
    if not fields.get("model"):
        raise FieldInvalid("Choose a model.", pointer="/model")
    return UpdateOrder(
        dataset=DatasetId(dataset),
        dataset_version=version,
        recipe=Recipe.from_json(given := recipe_of(fields)),
        given=given,
        force="force" in fields,
        alias=fields.get("alias") or PRODUCTION,
        auto_promote=principal.may(Role.OPERATOR) and fields.get("promote") == "yes",
        captions=_captions(fields.get("captions", "")),
    )


def _captions(named: str) -> DatasetRef | None:
    name, _, number = named.strip().partition(":")
    if not name:
        return None
    if number and not (number.isdecimal() and len(number) < 10):
        raise FieldInvalid("Name a dataset, or a version such as photos:2.", pointer="/captions")
    return DatasetRef(dataset=DatasetId(name), version=int(number or 0))


def _with_newest(asked: PageRequest, order: UpdateOrder) -> UpdateOrder:
    """Return the order with the newest version of its captions, as advice writes none."""
    if order.captions is None or order.captions.version:
        return order
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(order.captions.dataset)
        versions = work[Datasets].versions(found.id)
    if not versions:
        raise FieldInvalid(f"{found.name} has no version yet: freeze one.", pointer="/captions")
    named = DatasetRef(dataset=found.id, version=versions[-1].number)
    return replace(order, captions=named)


def _show(
    asked: PageRequest,
    dataset: str,
    version: int,
    fields: Fields | None = None,
    *,
    advice: Advice | None = None,
    model: str = "",
    refusal: PerennialError | None = None,
) -> Response:
    """Return the page, with what was sent and the advice on it or why it is refused."""
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        frozen = work[Datasets].version(found.id, version)
        models = work[Models].page(MODELS, None)
        taught = work[Models].taught([found.id]).get(found.id, ())
    suggested = model or (taught[0] if taught else models[0].name if models else "")
    first = {"model": suggested, "alias": PRODUCTION, "recipe": CHOICES[0].name, "promote": "yes"}
    return asked.page(
        "datasets/update.html",
        dataset=found,
        version=frozen,
        models=[model.name for model in models],
        choices=CHOICES,
        fields=fields or first,
        key=fresh_key(),
        advice=advice,
        refusal=refusal,
    )


# The recipes that the page offers; the API takes every other as well.


@dataclass(frozen=True, kw_only=True)
class RecipeChoice:
    """A recipe, and what to know of it."""

    name: str
    words: str
    recipe: Json


CHOICES = (
    RecipeChoice(
        name="default",
        words="the model's default: replays sentences and images of earlier updates",
        recipe={},
    ),
    *(
        RecipeChoice(name=method.value, words=f"{method.value}: {words}", recipe={"method": method})
        for method, words in {
            Method.VRLWF_FEATURES: "like the default, but stores no images of earlier updates",
            Method.VRLWF: "replays sentences alone, as published",
            Method.LWF: "Learning without Forgetting",
            Method.WISE: "fine-tunes and mixes the new weights with the old ones",
            Method.FT: "fine-tunes, and forgets most",
        }.items()
    ),
)


def recipe_of(fields: Fields) -> Json:
    """Return the fields of the recipe that a form asks for. Raises FieldInvalid."""
    recipe = next((one.recipe for one in CHOICES if one.name == fields.get("recipe")), None)
    if recipe is None:
        raise FieldInvalid("Choose one of the recipes.", pointer="/recipe")
    if not (rate := fields.get("learning_rate")):
        return recipe
    try:
        return {**recipe, "learning_rate": float(rate)}
    except ValueError as error:
        raise FieldInvalid("A learning rate is a number.", pointer="/learning_rate") from error
