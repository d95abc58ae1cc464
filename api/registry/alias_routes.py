"""Routes of aliases: list, promote, roll back, delete."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool

from api.datasets.schemas import DatasetVersionView, DatasetView, ReceiptView
from api.dependencies import CurrentPrincipal, IdempotencyKey, Services, WiredServices, job_request
from api.http.answers import ANY, etag, expected_revision
from api.http.bodies import parse
from api.http.forms import UPLOAD_ERRORS, Form, decode_upload, receive_form, text_field
from api.http.routing import ThreadRoute, needs
from api.http.schemas import NAME_RULE, AfterNumber, Limit, Page, number_after, page_of
from api.jobs.orders import ReferenceSet
from api.jobs.routes import accepted
from api.openapi_document import multipart, raises
from api.registry.schemas import (
    AliasView,
    LearnedClass,
    LearnedView,
    MoveView,
    Promotion,
    Rollback,
    StartView,
)
from core import errors
from core.artifacts.store import ArtifactBatch
from core.bases.create_model import require_import
from core.database.work import Work
from core.datasets.edit import Upload, require_room
from core.datasets.rules import DatasetKind, DatasetRef
from core.jobs.queue import JobRequest
from core.principal import Role
from core.recipes.rules import Recipe
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION, Alias
from core.registry.promote import promote, roll_back
from core.registry.read import learned_classes
from core.registry.rows import Models, Versions
from core.training.order import learn_classes
from core.upkeep import delete as deletion

router = APIRouter(prefix="/v1/models/{model}/aliases", tags=["aliases"], route_class=ThreadRoute)

IfMatch = Annotated[str | None, Header(alias="If-Match", examples=['"2"'])]

IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", examples=["*"])]

_UNKNOWN = (errors.ModelNotFound, errors.AliasNotFound)


@router.get("", responses=raises(errors.ModelNotFound), openapi_extra=needs(Role.VIEWER))
def list_aliases(model: str, services: WiredServices) -> Page[AliasView]:
    """List the aliases of a model."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Aliases].all(work[Models].get(model).id)
        return Page(data=[_show(work, row) for row in rows])


@router.get("/{alias}", responses=raises(*_UNKNOWN), openapi_extra=needs(Role.VIEWER))
def get_alias(model: str, alias: str, services: WiredServices, response: Response) -> AliasView:
    """Return an alias, with the ETag that a move sends as If-Match."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Aliases].get(work[Models].get(model).id, alias)
    return _answer(services, response, found)


@router.put(
    "/{alias}",
    responses=raises(
        *_UNKNOWN,
        errors.VersionNotFound,
        errors.GateFailed,
        errors.LearnedErasedImages,
        errors.EvaluationPending,
        errors.EvaluationStale,
        errors.ArtifactGone,
        errors.StaleRevision,
        errors.PreconditionRequired,
    ),
    openapi_extra=needs(Role.OPERATOR),
)
def move_alias(
    model: str,
    alias: Annotated[str, Path(json_schema_extra=NAME_RULE)],
    body: Promotion,
    services: WiredServices,
    principal: CurrentPrincipal,
    response: Response,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> AliasView:
    """Promote a version: point an alias at it, if the gate lets it go live."""
    present = partial(_present_revision, services, model, alias)
    expected = expected_revision(if_match, if_none_match, present)
    moved = promote(
        services.platform,
        principal,
        model=model,
        alias=alias,
        version=body.version,
        expected_revision=expected,
        reason=body.reason,
        override=body.override,
    )
    return _answer(services, response, moved)


@router.delete(
    "/{alias}",
    status_code=204,
    responses=raises(
        *_UNKNOWN,
        errors.InUse,
        errors.StaleRevision,
        errors.PreconditionRequired,
    ),
    openapi_extra=needs(Role.ADMIN),
)
def delete_alias(
    model: str,
    alias: str,
    services: WiredServices,
    reason: Annotated[str, Query(max_length=500)] = "",
    if_match: IfMatch = None,
) -> None:
    """Delete an alias; the history of its moves stays."""
    with services.platform.transactions(read_only=True) as work:
        work[Aliases].get(work[Models].get(model).id, alias)
    deletion.delete_alias(
        services.platform,
        model=model,
        alias=alias,
        expected_revision=expected_revision(
            if_match, None, partial(_present_revision, services, model, alias)
        ),
        reason=reason.strip(),
    )


@router.post(
    "/{alias}/rollback",
    responses=raises(
        *_UNKNOWN,
        errors.VersionNotFound,
        errors.NoPrevious,
        errors.GateFailed,
        errors.LearnedErasedImages,
        errors.ArtifactGone,
        errors.StaleRevision,
    ),
    openapi_extra=needs(Role.OPERATOR),
)
def roll_alias_back(
    model: str,
    alias: str,
    body: Rollback,
    services: WiredServices,
    principal: CurrentPrincipal,
    response: Response,
    if_match: IfMatch = None,
) -> AliasView:
    """Roll an alias back to the version that was live before, or to a named earlier one."""
    present = partial(_present_revision, services, model, alias)
    decided = if_match is not None and if_match.strip() != ANY
    moved = roll_back(
        services.platform,
        principal,
        model=model,
        alias=alias,
        to=body.to,
        expected_revision=expected_revision(if_match, None, present) if decided else None,
        reason=body.reason,
        override=body.override,
    )
    return _answer(services, response, moved)


@router.get("/{alias}/history", responses=raises(*_UNKNOWN), openapi_extra=needs(Role.VIEWER))
def list_alias_moves(
    model: str, alias: str, services: WiredServices, limit: Limit = 50, after: AfterNumber = None
) -> Page[MoveView]:
    """List the moves of an alias, oldest first, also after it was deleted."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        if not work[Aliases].last_revision(found.id, alias):
            raise errors.AliasNotFound(alias=alias)
        later = work[Aliases].history(found.id, alias, after=number_after(after))
    return page_of(later, limit, MoveView.of, lambda row: row.revision)


def _present_revision(services: Services, model: str, alias: str) -> int:
    """Return the alias's present revision. Raises StaleRevision when there is no such alias."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Aliases].find(work[Models].get(model).id, alias)
    if found is None:
        raise errors.StaleRevision("There is no such alias: create it with If-None-Match: *.")
    return found.revision


def _answer(services: Services, response: Response, alias: Alias) -> AliasView:
    response.headers["ETag"] = etag(alias.revision)
    with services.platform.transactions(read_only=True) as work:
        return _show(work, alias)


def _show(work: Work, alias: Alias) -> AliasView:
    return AliasView.of(
        alias,
        model=work[Models].get(alias.model).name,
        version=work[Versions].get(alias.model, alias.version),
    )


# Routes of a model's classes: list them, and teach new ones in one call.


classes_router = APIRouter(
    prefix="/v1/models/{model}/classes", tags=["models"], route_class=ThreadRoute
)

RECIPE, REFERENCE = "recipe", "reference"

_FORM = multipart(
    {
        RECIPE: {
            "type": "string",
            "description": (
                "Recipe fields as JSON, in a text field. The defaults suit the bundled model; "
                'large pre-trained models need a preset: {"preset": "vit_b_32"}.'
            ),
        },
        REFERENCE: {
            "type": "string",
            "description": 'For method \'zscl\': {"dataset": ..., "version": ...} in a text field.',
        },
    },
    additionalProperties={"type": "array", "items": {"type": "string", "format": "binary"}},
    description="One file field per image, named after its class: -F 'okapi=@1.jpg'",
)


@classes_router.get(
    "",
    responses=raises(errors.ModelNotFound, errors.AliasNotFound),
    openapi_extra=needs(Role.VIEWER),
)
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


@classes_router.post(
    "",
    status_code=202,
    responses=raises(
        errors.ModelNotFound,
        errors.RecipeInvalid,
        errors.FieldInvalid,
        errors.ImportFailed,
        errors.DatasetNotFound,
        errors.DatasetVersionNotFound,
        errors.ModelNotTrainable,
        errors.ArtifactGone,
        errors.LearnedErasedImages,
        errors.TooFewPerClass,
        errors.TooFewClasses,
        errors.IdempotencyMismatch,
        errors.JobDeleted,
        errors.InProgress,
        errors.TooManyJobs,
        *UPLOAD_ERRORS,
    ),
    openapi_extra=_FORM | needs(Role.CONTRIBUTOR),
)
async def teach_classes(
    model: str,
    request: Request,
    response: Response,
    services: WiredServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> StartView:
    """Teach classes: upload their images as a new dataset version and order an update."""
    await run_in_threadpool(_require_model, services, model)
    async with contextmanager_in_threadpool(services.platform.artifacts.batch()) as images:
        work = partial(decode_upload, services, images, DatasetKind.LABELLED)
        form = await receive_form(request, services, work, fields=(RECIPE, REFERENCE))
        ordered_by = job_request(request, principal, key, form.fingerprint)
        return await run_in_threadpool(_learn, services, response, images, ordered_by, model, form)


def _require_model(services: Services, model: str) -> None:
    require_room(services.platform)
    with services.platform.transactions(read_only=True) as work:
        require_import(work, work[Models].get(model))


def _learn(
    services: Services,
    response: Response,
    images: ArtifactBatch,
    ordered_by: JobRequest,
    model: str,
    form: Form[Upload],
) -> StartView:
    start = learn_classes(
        services.platform,
        services.decoder,
        services.notifier,
        ordered_by,
        model=model,
        recipe=_recipe(text_field(form.fields, RECIPE)),
        reference=_reference(text_field(form.fields, REFERENCE)),
        uploads=form.files,
        keep_images=images.commit,
    )
    return StartView(
        job=accepted(services, response, start.job),
        dataset=DatasetView.of(start.dataset),
        dataset_version=DatasetVersionView.of(start.version),
        files=[ReceiptView.of(receipt) for receipt in start.receipts],
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


def _recipe(text: str | None) -> Recipe:
    try:
        fields = parse(text or "{}", pointer=f"/{RECIPE}")
    except ValueError as error:
        raise errors.RecipeInvalid("The recipe is not valid JSON.", pointer="/recipe") from error
    if not isinstance(fields, dict):
        raise errors.RecipeInvalid("The recipe must be a JSON object.", pointer="/recipe")
    return Recipe.from_json(fields)
