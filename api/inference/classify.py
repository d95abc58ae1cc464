"""Route that classifies images with a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Annotated

from fastapi import BackgroundTasks, Header, Request, Response
from pydantic import AliasPath, Field
from starlette.concurrency import run_in_threadpool

from api.datasets.schemas import ReceiptError
from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.forms import text_field
from api.http.json_bodies import parse, read_aside
from api.http.routing import JSON, Routes, ThreadRoute, written
from api.http.schemas import ResponseModel
from api.inference.images import (
    FIELDS,
    FORM_ERRORS,
    ReceivedImage,
    readable_pixels,
    received_images,
)
from api.inference_client.client import Classified
from api.openapi_document import multipart
from api.trial_traffic import Originals, Part, part_of
from core import errors
from core.inference.classify import (
    ClassificationRequest,
    Resolved,
    classification_of,
)
from core.principal import Role
from core.rejection.rules import DEFAULT_RATE, Chosen, ErrorRate, Statistic, choose
from core.trials.rules import Arm, TrialMode


class Prediction(ResponseModel):
    """A class and its probability among the given classes."""

    name: str = Field(alias="class", examples=["ankle boot"])
    probability: float = Field(examples=[0.91])


class ImageAnswer(ResponseModel):
    """The predictions for an image, most probable first, or why it could not be classified."""

    file: str = Field(examples=["boot-1.jpg"])
    predictions: list[Prediction]
    none_of_these: bool | None = Field(
        None, description="Whether the image shows none of the classes; null unless it was asked."
    )
    score: float | None = Field(
        None, description="The image's statistic, which is compared with the threshold."
    )
    error: ReceiptError | None = None
    prediction: str | None = Field(
        None,
        examples=["pred_0199c0d1e2f3a4b5c6d7e8f9"],
        description="While a trial runs: what a label is sent back for.",
    )


class TrialAnswer(ResponseModel):
    """The trial that the alias has, and which of its two versions answered."""

    id: str = Field(examples=["trial_0199c0d1e2f3a4b5c6d7e8f9"])
    mode: TrialMode
    arm: Arm


class NoneOfThese(ResponseModel):
    """The threshold below which an image shows none of the classes, and its error rates."""

    false_rejection_rate: float = Field(
        validation_alias=AliasPath("threshold", "rate"),
        examples=[0.05],
        description="The rate asked for.",
    )
    statistic: Statistic = Field(validation_alias=AliasPath("calibration", "statistic"))
    threshold: float = Field(validation_alias=AliasPath("threshold", "threshold"), examples=[0.031])
    auroc: float = Field(validation_alias=AliasPath("calibration", "auroc"), examples=[0.87])
    source: str = Field(
        validation_alias=AliasPath("source", "name"),
        examples=["learned classes"],
        description="Whose images the threshold was chosen on: a suite's, the updates' holdouts, "
        "or those of all sources.",
    )
    covered: bool = Field(
        description="Whether the source has all the classes, with the same prompt. If not, the "
        "rates are those of other classes."
    )
    list_size: int = Field(
        validation_alias=AliasPath("calibration", "size"),
        examples=[10],
        description="The number of classes for which the rates were measured.",
    )
    false_rejection: ErrorRate = Field(
        validation_alias=AliasPath("threshold", "false_rejection"),
        description="Test images of a class of the list that are below the threshold.",
    )
    false_acceptance: ErrorRate = Field(
        validation_alias=AliasPath("threshold", "false_acceptance"),
        description="Test images of no class of the list that are not below the threshold.",
    )


class ClassifyView(ResponseModel):
    """The results in the order the images were sent, and the version that classified them."""

    model: str
    version: int
    digest: str
    none_of_these: NoneOfThese | None = Field(None, description="Null unless it was asked.")
    data: list[ImageAnswer]
    trial: TrialAnswer | None = None


router = Routes(
    prefix="/v1/models/{reference}/classify", tags=["inference"], route_class=ThreadRoute
)

RoutingKey = Annotated[
    str | None,
    Header(
        alias="Perennial-Routing-Key",
        min_length=1,
        max_length=200,
        description="Requests with the same key are answered by the same version of a canary; "
        "without it, each request is on its own.",
    ),
]

DEFAULT_TOP_K = 5
NUMBERS = 10  # that take as long to write as a prediction
OFF = "off"

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
        "none_of_these": {
            "type": "string",
            "default": OFF,
            "description": f"`{OFF}`, or the share of images of the classes that may be taken for "
            "images of none: a rate that the version is calibrated for, such as 0.05.",
        },
    },
    required=["images"],
)


@router.post(
    "",
    Role.VIEWER,
    *FORM_ERRORS,
    errors.ClassInvalid,
    errors.PromptInvalid,
    errors.NotCalibrated,
    response_model=ClassifyView,
    openapi_extra=_FORM,
)
async def classify_images(
    reference: str,
    request: Request,
    services: WiredServices,
    principal: CurrentPrincipal,
    background: BackgroundTasks,
    routing_key: RoutingKey = None,
) -> Response:
    """Classify images; `reference` is `name`, `name@alias`, `name:7` or `name@sha256:...`.

    By default the classes are those that the version has learned; one that has learned none, such
    as a root, needs `classes`. With `none_of_these`, each image is also told to show one of the
    classes or none, by a threshold whose error rates stand beside it.

    While the alias has a trial, a canary answers a share of the routing keys, and `prediction` is
    what labels are sent back for. Requests with `expect_digest` or `none_of_these` take no part.
    """
    # The version is known before any image is decoded, to the pixels that this version takes.
    resolved = await services.find_version(reference, principal)
    fields = ("classes", "prompt", "prompts", "top_k", "none_of_these")
    sampled = services.trials.samples.wants(resolved.tried)
    async with received_images(
        request, services, resolved, fields=fields, originals=sampled
    ) as form:
        key = routing_key or request.scope["state"]["request_id"]
        part = _part(resolved, form.fields, key)
        resolved = part.answering if part else resolved
        prompts, classes = await _prompts(form.fields), await _texts(form.fields, "classes")
        asked = classification_of(resolved, classes or (), prompts=prompts)
        top_k = _top_k(text_field(form.fields, "top_k"))
        rate = text_field(form.fields, "none_of_these")
        chosen = await _chosen(services, asked, rate)
        readable = readable_pixels(form.files)
        found = await services.inference.answer(asked, readable, top_k=top_k)
    answers = _Answers(found=found, chosen=chosen)
    if part is not None:

        def request_to(candidate: Resolved) -> ClassificationRequest:
            return classification_of(candidate, classes or (), prompts=prompts)

        best = [one.predictions[0]["class"] for one in found]
        ids = services.trials.answered(part, best)
        sent = [image.original for image in form.files if image.refusal is None]
        originals = Originals(trial=part.trial.id, images=sent, answers=best) if sampled else None
        background.add_task(services.trials.shadow, part, ids, readable, request_to, originals)
        answers = _Answers(found=found, part=part, ids=ids)
    values = NUMBERS * sum(len(one.predictions) for one in found)
    return await written(values, _show, resolved, form.files, answers)


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """The answer for each image that was not refused, and its part in a trial."""

    found: Sequence[Classified]
    chosen: Chosen | None = None
    part: Part | None = None
    ids: Sequence[str] = ()  # of the predictions, in a trial

    @property
    def trial(self) -> TrialAnswer | None:
        """The trial, as a reply shows it."""
        if self.part is None:
            return None
        trial = self.part.trial
        return TrialAnswer(id=trial.id, mode=trial.mode, arm=self.part.arm)


def _part(resolved: Resolved, fields: Mapping[str, str], routing_key: str) -> Part | None:
    """Return the request's part in the trial that the alias has, if it takes part in one."""
    if resolved.tried is None or text_field(fields, "expect_digest") is not None:
        return None
    if text_field(fields, "none_of_these") not in {None, OFF}:
        return None
    return part_of(resolved, resolved.tried, routing_key)


async def _chosen(
    services: Services, asked: ClassificationRequest, rate: str | None
) -> Chosen | None:
    """Return the threshold for "none of these", if it is asked for."""
    if rate in {None, OFF}:
        return None
    try:
        wanted = float(rate or "")
    except ValueError:
        wanted = nan
    if not 0 < wanted < 1:
        raise errors.FieldInvalid(
            f"none_of_these must be {OFF}, or a false-rejection rate such as {DEFAULT_RATE}.",
            pointer="/none_of_these",
        )
    calibration = await run_in_threadpool(services.calibrations.of, asked.version)
    return choose(calibration, asked.texts.classes, asked.texts.prompts, wanted)


def _show(resolved: Resolved, images: Sequence[ReceivedImage], answers: _Answers) -> Response:
    remaining, ids = iter(answers.found), iter(answers.ids)
    chosen = answers.chosen
    view = ClassifyView(
        model=resolved.model.name,
        version=resolved.version.number,
        digest=resolved.version.digest,
        none_of_these=None if chosen is None else NoneOfThese.of(chosen),
        trial=answers.trial,
        data=[
            ImageAnswer(file=image.file, predictions=[], error=image.error)
            if image.refusal is not None
            else _answer(image.file, next(remaining), chosen, next(ids, None))
            for image in images
        ],
    )
    return Response(view.model_dump_json(by_alias=True), media_type=JSON)


def _answer(
    file: str, found: Classified, chosen: Chosen | None, prediction: str | None
) -> ImageAnswer:
    predictions = [Prediction.model_validate(row) for row in found.predictions]
    if chosen is None:
        return ImageAnswer(file=file, predictions=predictions, prediction=prediction)
    score = chosen.calibration.statistic.of(found.cosines, predictions[0].probability)
    return ImageAnswer(
        file=file,
        predictions=predictions,
        none_of_these=score < chosen.threshold.threshold,
        score=score,
    )


async def _prompts(fields: Mapping[str, str]) -> Sequence[str]:
    """Return the prompt templates that were sent, or none for the version's."""
    one, several = text_field(fields, "prompt"), await _texts(fields, "prompts")
    if several is None:
        return [one] if one else []
    if one or not several:
        raise errors.FieldInvalid(
            "Send one template as prompt, or a list of at least one as prompts.", pointer="/prompts"
        )
    return several


async def _texts(fields: Mapping[str, str], name: str) -> Sequence[str] | None:
    text = text_field(fields, name)
    if text is None:
        return None
    try:
        found = await read_aside(len(text), parse, text, pointer=f"/{name}")
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
