"""Routes of the labels of unlabelled suites: which images to label, and their classes."""

from typing import Annotated, Any

from fastapi import Header, Query, Response
from pydantic import Field

from api.datasets.schemas import Pixels
from api.dependencies import WiredServices
from api.http.answers import CSV, CSV_CONTENT, IfNoneMatch, csv_text, image_answer, preferred
from api.http.routing import JSON, Routes, ThreadRoute, raises
from api.http.schemas import After, ClassName, Limit, Page, RequestModel, ResponseModel, page_of
from api.openapi_document import stored_images
from api.trials.schemas import LabelError
from core import errors
from core.datasets.labels import LabelOutcome, label_images, suite_form
from core.evaluation.to_label import images_to_label
from core.principal import Role
from core.values import Digest

router = Routes(prefix="/v1/suites/{suite}", tags=["suites"], route_class=ThreadRoute)

MAX_LABELS = 1000
COLUMNS = ("pixels", "class")  # of CSV


class UnlabelledImage(ResponseModel):
    """An image to label."""

    pixels: str = Field(description="SHA-256 of the decoded pixels.")


class ImageLabel(RequestModel):
    """The class that an image of an unlabelled suite shows."""

    pixels: Annotated[str, Field(max_length=100)] = Field(
        description="SHA-256 of the decoded pixels."
    )
    class_name: ClassName = Field(
        alias="class",
        examples=["ankle boot"],
        description="One of the suite's, or `none of these`.",
    )


class NewLabels(RequestModel):
    """Labels of images of a suite."""

    labels: list[ImageLabel] = Field(min_length=1, max_length=MAX_LABELS)


class ImageLabelReceipt(ResponseModel):
    """The outcome of sending a label of an image."""

    pixels: str
    class_name: str = Field(alias="class", validation_alias="class_name")
    status: LabelOutcome | None = Field(
        validation_alias="outcome",
        description="repeated: the image had it already; null: it was refused.",
    )
    error: LabelError | None = Field(validation_alias="refusal")


class SuiteLabelsView(ResponseModel):
    """A receipt for each label, in the order in which they were sent."""

    data: list[ImageLabelReceipt]


AskedVersion = Annotated[
    str,
    Query(max_length=200, description="A version that was scored on the suite, such as `demo:3`."),
]

_TO_LABEL: dict[int | str, dict[str, Any]] = {
    200: {"content": CSV_CONTENT},
    **raises(
        errors.SuiteNotFound,
        errors.ModelNotFound,
        errors.VersionNotFound,
        errors.AliasNotFound,
        errors.ReportNotFound,
        errors.EvaluationPending,
        errors.ReportUnreadable,
        errors.NotAcceptable,
    ),
}


@router.get("/to-label", Role.VIEWER, response_model=Page[UnlabelledImage], responses=_TO_LABEL)
def list_images_to_label(
    suite: str,
    services: WiredServices,
    response: Response,
    version: AskedVersion,
    limit: Limit = 50,
    after: After = None,
    accept: Annotated[str | None, Header()] = None,
) -> Page[UnlabelledImage] | Response:
    """List the images of an unlabelled suite whose labels would tell more about a version.

    About each, it disagrees with one of the versions that it was compared with. The order is random
    and fixed: label from the first on and leave none out, since labels count up to the first image
    without one. What the versions answered is not shown. CSV has an empty column for the class.
    """
    wanted = preferred(accept, (JSON, CSV))
    last = Digest(after) if after else None
    _, later = images_to_label(services.platform, suite=suite, reference=version, after=last)
    if wanted == CSV:
        rows = [{"pixels": one.pixels} for one in later[:limit]]
        return Response(csv_text(COLUMNS, rows), media_type=CSV, headers={"Vary": "Accept"})
    response.headers["Vary"] = "Accept"
    return page_of(later, limit, UnlabelledImage.of, lambda one: one.pixels)


@router.post(
    "/labels",
    Role.ADMIN,
    errors.SuiteNotFound,
    errors.SuiteRetired,
    errors.ImageNotFound,
    errors.ImageLabelled,
    errors.ClassInvalid,
    errors.AllRejected,
)
def label_suite_images(suite: str, body: NewLabels, services: WiredServices) -> SuiteLabelsView:
    """Label images of an unlabelled suite, each once: the first label of an image stays.

    It takes a key for every model, since the suite judges all that have it. Labels that are refused
    leave the others as they are; if all are, the reply is an error.
    """
    receipts = label_images(
        services.platform,
        suite=suite,
        labels=[(one.pixels, one.class_name) for one in body.labels],
    )
    refusals = [one.refusal for one in receipts if one.refusal is not None]
    view = SuiteLabelsView(data=[ImageLabelReceipt.model_validate(one) for one in receipts])
    if len(refusals) < len(receipts):
        return view
    if len(refusals) == 1:
        raise refusals[0]
    raise errors.AllRejected(
        "No label was accepted.",
        labels=[
            one.model_dump(mode="json", exclude={"status"}, by_alias=True) for one in view.data
        ],
    )


@router.get(
    "/images/{pixels}",
    Role.VIEWER,
    responses=stored_images(errors.SuiteNotFound),
    response_class=Response,
)
def get_suite_image(
    suite: str, pixels: Pixels, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return an image of a suite as it is stored: without metadata, as a lossless WebP."""
    artifact = suite_form(services.platform, suite=suite, pixels=Digest(pixels))
    return image_answer(services, artifact, if_none_match)
