"""Routes of a model's classes: list them, and teach new ones in one call."""

from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool

from api.accepted_job import accepted
from api.dependencies import CurrentPrincipal, IdempotencyKey, Services, WiredServices, job_request
from api.http.forms.uploads import Form, receive_form, text_field
from api.http.required_role import needs
from api.http.strict_json import parse
from api.http.threadpool_route import ThreadRoute
from api.image_forms import UPLOAD_ERRORS, decode_upload
from api.openapi_document import multipart, raises
from api.schemas.datasets.datasets import DatasetVersionView, DatasetView, ReceiptView
from api.schemas.jobs.orders import ReferenceSet
from api.schemas.registry.models import LearnedClass, LearnedView, StartView
from core import errors
from core.domain.access.roles import Role
from core.domain.datasets.dataset import DatasetKind, DatasetRef
from core.domain.recipes.recipe import Recipe
from core.domain.registry.alias import PRODUCTION
from core.ports import ArtifactBatch
from core.use_cases.datasets.datasets import Upload, require_room
from core.use_cases.jobs.queue import JobRequest
from core.use_cases.registry.import_outcome import require_import
from core.use_cases.registry.model_reference import learned_classes
from core.use_cases.training.teach_classes import learn_classes

router = APIRouter(prefix="/v1/models/{model}/classes", tags=["models"], route_class=ThreadRoute)

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


@router.get(
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


@router.post(
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
        require_import(work, work.models.get(model))


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
