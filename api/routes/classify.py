"""Route that classifies images with a version."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.forms.uploads import Form, text_field
from api.http.required_role import needs
from api.http.strict_json import parse
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import multipart, raises
from api.schemas.inference.classify import ClassifyView, ImageAnswer, Prediction
from api.tower_images import (
    FIELDS,
    FORM_ERRORS,
    ReceivedImage,
    readable_pixels,
    received_images,
)
from core import errors
from core.domain.access.roles import Role
from core.ports import ClassificationRequest
from core.use_cases.inference.classify import (
    Resolved,
    classification_of,
    known_classes,
)

router = APIRouter(
    prefix="/v1/models/{reference}/classify", tags=["inference"], route_class=ThreadRoute
)

DEFAULT_TOP_K = 5
SHOWN_AT_ONCE = 5000  # predictions, in a fraction of a second; a thread shows more
_FORM = multipart(
    {
        **FIELDS,
        "classes": {"type": "string", "description": "A JSON list of class names."},
        "prompt": {"type": "string", "description": "A prompt template with one {name}."},
        "prompts": {
            "type": "string",
            "description": "Instead of `prompt`: a JSON list of prompt templates. A class stands "
            "where the mean of its prompts does.",
        },
        "top_k": {"type": "integer", "default": DEFAULT_TOP_K},
    },
    required=["images"],
)


@router.post(
    "",
    responses=raises(*FORM_ERRORS, errors.ClassInvalid, errors.PromptInvalid),
    openapi_extra=_FORM | needs(Role.VIEWER),
)
async def classify_images(
    reference: str, request: Request, services: WiredServices, asking: CurrentPrincipal
) -> ClassifyView:
    """Classify images; `reference` is `name`, `name@alias`, `name:7` or `name@sha256:...`.

    By default the classes are those that the version has learned or, for a root, those of its
    model's zero-shot suites.
    """
    # The version is known before any image is decoded, to the pixels that this version takes.
    resolved = await services.find_version(reference, asking)
    fields = ("classes", "prompt", "prompts", "top_k")
    async with received_images(request, services, resolved, fields=fields) as form:
        asked = await _classification(services, resolved, form)
        top_k = _top_k(text_field(form.fields, "top_k"))
        readable = readable_pixels(form.files)
        predictions = await services.inference.answer(asked, readable, top_k=top_k)
    if sum(map(len, predictions)) <= SHOWN_AT_ONCE:
        return _show(resolved, form.files, predictions)
    return await run_in_threadpool(_show, resolved, form.files, predictions)


async def _classification(
    services: Services, resolved: Resolved, form: Form[ReceivedImage]
) -> ClassificationRequest:
    prompts = _prompts(form.fields)
    classes = _texts(form.fields, "classes")
    if not classes:
        classes = await run_in_threadpool(known_classes, services.platform, resolved)
    return classification_of(resolved, classes, prompts=prompts)


def _show(
    resolved: Resolved,
    images: Sequence[ReceivedImage],
    predictions: Sequence[Sequence[object]],
) -> ClassifyView:
    remaining = iter(predictions)
    return ClassifyView(
        model=resolved.model.name,
        version=resolved.version.number,
        digest=resolved.version.digest,
        data=[
            ImageAnswer(
                file=image.file,
                predictions=[Prediction.model_validate(row) for row in next(remaining)]
                if image.refusal is None
                else [],
                error=image.error,
            )
            for image in images
        ],
    )


def _prompts(fields: Mapping[str, str]) -> Sequence[str]:
    """Return the prompt templates that were sent, or none for the version's."""
    one, several = text_field(fields, "prompt"), _texts(fields, "prompts")
    if several is None:
        return [one] if one else []
    if one or not several:
        raise errors.FieldInvalid(
            "Send one template as prompt, or a list of at least one as prompts.", pointer="/prompts"
        )
    return several


def _texts(fields: Mapping[str, str], name: str) -> Sequence[str] | None:
    text = text_field(fields, name)
    if text is None:
        return None
    try:
        found = parse(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise errors.FieldInvalid(f"{name} must be a JSON list of texts.", pointer=f"/{name}")
    return found


def _top_k(text: str | None) -> int:
    if text is None:
        return DEFAULT_TOP_K
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 1000:
        raise errors.FieldInvalid("top_k must be a whole number from 1 to 1000.", pointer="/top_k")
    return int(text[:9])
