"""Route that classifies images with a version."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.forms.multipart import Part
from api.http.forms.uploads import Form, data_of, receive_form, text_field
from api.http.required_role import needs
from api.http.strict_json import parse
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import multipart, raises
from api.schemas.classify import ClassifyView, ImageAnswer, Prediction
from api.schemas.datasets.datasets import ReceiptError
from core import errors
from core.domain.access.roles import Role
from core.domain.values import clean_file_label
from core.ports import ClassificationRequest
from core.use_cases.inference.classify import (
    Resolved,
    classification_of,
    known_classes,
)

router = APIRouter(
    prefix="/v1/models/{reference}/classify", tags=["inference"], route_class=ThreadRoute
)

FIELDS = ("classes", "prompt", "top_k", "expect_digest")
DEFAULT_TOP_K = 5
SHOWN_AT_ONCE = 5000  # predictions, in a fraction of a second; a thread shows more
_FORM = multipart(
    {
        "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "classes": {"type": "string", "description": "A JSON list of class names."},
        "prompt": {"type": "string", "description": "A prompt template with one {name}."},
        "top_k": {"type": "integer", "default": DEFAULT_TOP_K},
        "expect_digest": {
            "type": "string",
            "description": "Refuse if the reference resolves to another digest.",
        },
    },
    required=["images"],
)


@dataclass(frozen=True)
class ReceivedImage:
    """An image that was sent, decoded or refused."""

    file: str
    pixels: bytes = b""  # of the version's input
    refusal: errors.Invalid | None = None


@router.post(
    "",
    responses=raises(
        errors.ModelNotFound,
        errors.AliasNotFound,
        errors.VersionNotFound,
        errors.EmbeddingSpaceChanged,
        errors.NotServable,
        errors.ClassInvalid,
        errors.PromptInvalid,
        errors.UnsupportedImage,
        errors.ImageCorrupt,
        errors.ImageTooLarge,
        errors.ImageAnimated,
        errors.MalformedMultipart,
        errors.BodyTooLarge,
        errors.TooManyParts,
        errors.InferenceUnavailable,
        errors.InferenceBusy,
    ),
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

    def decode(part: Part) -> ReceivedImage:
        return _decode(services, resolved, part)

    form = await receive_form(request, services, decode, fields=FIELDS)
    asked = await _classification(services, resolved, form)
    top_k = _top_k(text_field(form.fields, "top_k"))
    readable = [image.pixels for image in form.files if image.refusal is None]
    if not readable:
        raise _no_readable_image(form.files)
    predictions = await services.inference.answer(asked, readable, top_k=top_k)
    if sum(map(len, predictions)) <= SHOWN_AT_ONCE:
        return _show(resolved, form.files, predictions)
    return await run_in_threadpool(_show, resolved, form.files, predictions)


def _decode(services: Services, resolved: Resolved, part: Part) -> ReceivedImage:
    label = clean_file_label(part.file_name)
    try:
        return ReceivedImage(label, services.decoder.pixels(data_of(part), resolved.input))
    except errors.Invalid as refusal:
        return ReceivedImage(label, refusal=refusal)


async def _classification(
    services: Services, resolved: Resolved, form: Form[ReceivedImage]
) -> ClassificationRequest:
    resolved.require_digest(text_field(form.fields, "expect_digest"))
    classes = _classes(text_field(form.fields, "classes"))
    if not classes:
        classes = await run_in_threadpool(known_classes, services.platform, resolved)
    return classification_of(resolved, classes, prompt=text_field(form.fields, "prompt"))


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
                error=image.refusal
                and ReceiptError(code=image.refusal.code, detail=image.refusal.message),
            )
            for image in images
        ],
    )


def _no_readable_image(images: Sequence[ReceivedImage]) -> errors.Invalid:
    """Return the refusal of a single image, or an error that lists the refusals of several."""
    refusals = [(image.file, image.refusal) for image in images if image.refusal]
    if not refusals:
        return errors.FieldInvalid("Send at least one image.", pointer="/images")
    if len(refusals) == 1:
        return refusals[0][1]
    return errors.AllRejected(
        files=[
            {"file": file, "error": {"code": why.code, "detail": why.message}}
            for file, why in refusals
        ]
    )


def _classes(text: str | None) -> Sequence[str] | None:
    if text is None:
        return None
    try:
        names = parse(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise errors.FieldInvalid("classes must be a JSON list of class names.", pointer="/classes")
    return names


def _top_k(text: str | None) -> int:
    if text is None:
        return DEFAULT_TOP_K
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 1000:
        raise errors.FieldInvalid("top_k must be a whole number from 1 to 1000.", pointer="/top_k")
    return int(text[:9])
