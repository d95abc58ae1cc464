"""Routes of models, of the classes that they have learned, and of teaching new ones in one call."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool

from api.datasets.schemas import DatasetVersionView, DatasetView, ReceiptView
from api.dependencies import Services, WiredServices
from api.exports.tars import delete_cached_tars
from api.http.forms import UPLOAD_ERRORS, Form, decode_upload, receive_form, text_field
from api.http.json_bodies import parse
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import After, Limit, Page, ReasonQuery, page_of
from api.jobs.orders import ReferenceSet
from api.jobs.routes import ORDER_ERRORS, UPDATE_REFUSALS, Ordering, PlacedOrder
from api.jobs.schemas import JobView
from api.openapi_document import multipart
from api.registry.schemas import (
    LearnedClass,
    LearnedView,
    ModelChange,
    ModelView,
    NewModel,
    StartView,
)
from core import errors
from core.artifacts.store import ArtifactBatch
from core.bases.create_model import create_model, require_import
from core.database.work import Work
from core.datasets.rules import DatasetKind, DatasetRef
from core.datasets.uploads import Upload, require_room
from core.datasets.version_rows import Suites
from core.gate.rows import Policies
from core.jobs.orders import JobType
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION
from core.registry.configure import configure_model
from core.registry.read import learned_classes
from core.registry.rows import Models
from core.registry.versions import Model
from core.training.start import learn_classes
from core.upkeep import delete as deletion
from core.values import ModelId

router = Routes(prefix="/v1/models", tags=["models"], route_class=ThreadRoute)


@router.post(
    "",
    JobType.IMPORT.role,
    errors.NameInvalid,
    errors.NameTaken,
    errors.BaseUnknown,
    errors.WeightsFormat,
    errors.ModelNotTrainable,
    errors.SuiteNotFound,
    errors.SuiteRetired,
    errors.PolicyNotFound,
    *ORDER_ERRORS,
    status_code=202,
)
def register_model(body: NewModel, ordering: PlacedOrder) -> JobView:
    """Create a model; a job imports its root as version 1."""
    job = create_model(
        *ordering.of(body.model_dump()),
        name=body.name,
        base=body.base,
        suites=tuple(body.suites),
        policy=body.policy,
    )
    return ordering.accepted(job)


@router.get("", Role.VIEWER)
def list_models(services: WiredServices, limit: Limit = 50, after: After = None) -> Page[ModelView]:
    """List models, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Models].page(limit + 1, after)
        page = page_of(rows, limit, lambda row: row, lambda row: row.id)
        return Page(data=_views(work, page.data), has_more=page.has_more, next=page.next)


@router.get("/{model}", Role.VIEWER, errors.ModelNotFound)
def get_model(model: str, services: WiredServices) -> ModelView:
    """Return a model."""
    with services.platform.transactions(read_only=True) as work:
        return _views(work, [work[Models].get(model)])[0]


@router.patch(
    "/{model}",
    Role.OPERATOR,
    errors.ModelNotFound,
    errors.SuiteNotFound,
    errors.SuiteRetired,
    errors.PolicyNotFound,
    errors.RecipeInvalid,
    errors.RecipeUnsafe,
    errors.ModelNotTrainable,
    errors.ArtifactGone,
    errors.Conflict,
)
def change_model(model: str, body: ModelChange, services: WiredServices) -> ModelView:
    """Set the suites and the policy that judge the model's next versions, and its default recipe.

    Suites and policy take the role admin.
    """
    changes = dict(body)
    if "default_recipe" in body.model_fields_set:
        changes["default_recipe"] = body.default_recipe or {}
    found = configure_model(services.platform, model, **changes)
    with services.platform.transactions(read_only=True) as work:
        return _views(work, [found])[0]


@router.delete("/{model}", Role.ADMIN, errors.ModelNotFound, errors.InUse, status_code=204)
def delete_model(model: str, services: WiredServices, reason: ReasonQuery = "") -> None:
    """Delete a model with its versions, aliases and jobs; its name is free afterwards.

    One that was taught takes a reason, which the audit log keeps.
    """
    deleted = deletion.delete_model(services.platform, model=model, reason=reason)
    delete_cached_tars(services.platform, deleted.id)


def _views(work: Work, models: Sequence[Model]) -> list[ModelView]:
    """Return the views of models; the number of queries does not depend on how many they are."""
    suites = work[Suites].names({suite for model in models for suite in model.suites})
    policies = work[Policies].names({model.policy for model in models})
    aliases: dict[ModelId, dict[str, int]] = {model.id: {} for model in models}
    for alias in work[Aliases].all(*aliases):
        aliases.get(alias.model, {})[alias.name] = alias.version
    return [
        ModelView.of(
            model,
            suites=[suites[suite] for suite in model.suites],
            policy=policies[model.policy],
            aliases=aliases[model.id],
        )
        for model in models
    ]


# Classes.

RECIPE, FORCE, REFERENCE = "recipe", "force", "reference"

_FORM = multipart(
    {
        RECIPE: {
            "type": "string",
            "description": (
                "Recipe fields that differ from the model's default, as JSON in a text field."
            ),
        },
        FORCE: {
            "type": "string",
            "enum": ["true", "false"],
            "description": "As in the order of an update, in a text field.",
        },
        REFERENCE: {
            "type": "string",
            "description": 'For method \'zscl\': {"dataset": ..., "version": ...} in a text field.',
        },
    },
    additionalProperties={"type": "array", "items": {"type": "string", "format": "binary"}},
    description="One file field per image, named after its class: -F 'okapi=@1.jpg'",
)


@router.get("/{model}/classes", Role.VIEWER, errors.ModelNotFound, errors.AliasNotFound)
def list_classes(model: str, services: WiredServices, alias: str = PRODUCTION) -> LearnedView:
    """List the classes an alias's version has learned, and which version taught each last."""
    with services.platform.transactions(read_only=True) as work:
        found, version, taught = learned_classes(work, model, alias)
    return LearnedView(
        model=found.name,
        version=version.number,
        digest=version.digest,
        data=[LearnedClass(name=name, version=number) for name, number in taught.items()],
    )


@router.post(
    "/{model}/classes",
    Role.CONTRIBUTOR,
    errors.ModelNotFound,
    *ORDER_ERRORS,
    *UPDATE_REFUSALS,
    *UPLOAD_ERRORS,
    status_code=202,
    openapi_extra=_FORM,
)
async def teach_classes(model: str, ordering: PlacedOrder) -> StartView:
    """Teach classes: upload their images as a new dataset version and order an update."""
    services, request = ordering.services, ordering.request
    await run_in_threadpool(_require_model, services, model)
    async with contextmanager_in_threadpool(services.platform.artifacts.batch()) as images:
        work = partial(decode_upload, services, images, DatasetKind.LABELLED)
        form = await receive_form(request, services, work, fields=(RECIPE, FORCE, REFERENCE))
        return await run_in_threadpool(_learn, ordering, images, model, form)


def _require_model(services: Services, model: str) -> None:
    require_room(services.platform)
    with services.platform.transactions(read_only=True) as work:
        require_import(work, work[Models].get(model))


def _learn(ordering: Ordering, images: ArtifactBatch, model: str, form: Form[Upload]) -> StartView:
    start = learn_classes(
        *ordering.of(form.fingerprint),
        model=model,
        recipe=_recipe(text_field(form.fields, RECIPE)),
        force=_forced(text_field(form.fields, FORCE)),
        reference=_reference(text_field(form.fields, REFERENCE)),
        uploads=form.files,
        keep_images=images.commit,
    )
    return StartView(
        job=ordering.accepted(start.job),
        dataset=DatasetView.of(start.dataset),
        dataset_version=DatasetVersionView.of(start.version),
        files=[ReceiptView.model_validate(receipt.to_json()) for receipt in start.receipts],
    )


def _reference(text: str | None) -> DatasetRef | None:
    if text is None:
        return None
    try:
        return ReferenceSet.model_validate(parse(text, pointer=f"/{REFERENCE}")).named()
    except ValueError as error:
        raise errors.FieldInvalid(
            'The reference must be JSON: {"dataset": its name or id, "version": its number}.',
            pointer=f"/{REFERENCE}",
        ) from error


def _forced(text: str | None) -> bool:
    if text not in {None, "true", "false"}:
        raise errors.FieldInvalid("Send true or false.", pointer=f"/{FORCE}")
    return text == "true"


def _recipe(text: str | None) -> dict[str, Any]:
    try:
        fields = parse(text or "{}", pointer=f"/{RECIPE}")
    except ValueError as error:
        raise errors.RecipeInvalid("The recipe is not valid JSON.", pointer="/recipe") from error
    if not isinstance(fields, dict):
        raise errors.RecipeInvalid("The recipe must be a JSON object.", pointer="/recipe")
    return fields
