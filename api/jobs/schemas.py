"""Schemas of jobs, their events and advice."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasPath, BaseModel, Field

from api.http.schemas import BY_TEXT, After, Limit, ResponseModel, Time
from core.advice.findings import Severity
from core.advice.rules import Advice
from core.archives.rules import ArchiveFormat
from core.database.work import Work
from core.datasets.image_lists import Grouping
from core.jobs import orders
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus, NamedJob
from core.recipes.fields import Precision
from core.registry.exports import ExportFormat
from core.registry.rows import Models
from core.registry.versions import ServingPrecision
from core.values import JobId


class ProgressView(ResponseModel):
    """Progress of a job within its phase."""

    step: int = Field(examples=[120])
    total: int = Field(examples=[480])
    eta_s: float | None = Field(examples=[31.5])
    terms: dict[str, float] = Field(
        examples=[{"loss": 0.61, "vr": 0.02, "images_per_second": 81.5, "waited": 0.0}],
        description=(
            "Values of the last training step: the loss, its terms before weighting, the batch's "
            "accuracy and the scale; `images_per_second`, with replayed exemplars and without "
            "reference images; `waited`, the share of its time spent waiting for images. Of a "
            "blame also `group`, which is left out, of how many `groups`."
        ),
    )


class DatasetVersionRef(ResponseModel):
    """A reference to a dataset version."""

    dataset: str
    version: int


def taught_by(order: orders.UpdateOrder) -> DatasetVersionRef:
    """Return the dataset version that an update learns from."""
    return DatasetVersionRef(dataset=order.dataset, version=order.dataset_version)


class ImportView(ResponseModel):
    """The archive or the objects that an import of images reads, and its dataset."""

    dataset: str = Field(description="Id of the dataset.")
    archive: str = Field(description="SHA-256 of the archive, or of the list of objects.")
    format: Annotated[ArchiveFormat, BY_TEXT] = Field(validation_alias="archive_format")
    bytes: int = Field(
        validation_alias="archive_bytes", description="Of the archive, or of all objects."
    )
    source: str | None = Field(
        examples=["s3://photos/products/"], description="Where objects lie; null for an archive."
    )
    validate_only: bool
    image_column: str | None = Field(description="As ordered; null: found by its name and type.")
    label_column: str | None
    caption_column: str | None


class ConversionView(ResponseModel):
    """The precision of the version that a conversion makes, and whether it may go live by itself.

    The job's `parent_version` is what it is made from.
    """

    precision: ServingPrecision
    alias: str
    auto_promote: bool


class BlameOrderView(ResponseModel):
    """A question of blame: the version, the class, and how its update's images are grouped."""

    version: int
    class_name: str | None = Field(
        alias="class", description="Null: each class that has fallen since the version's parent."
    )
    by: Grouping
    groups: int = Field(description="At most so many.")
    suite: str | None


class JobExportView(ResponseModel):
    """The version that an export writes, and in which format."""

    version: int
    format: ExportFormat


class JobBundleView(ResponseModel):
    """The bundle that an import of a version reads."""

    archive: str = Field(description="SHA-256 of the bundle.")
    bytes: int = Field(validation_alias="archive_bytes")
    digest: str = Field(description="Of the version that it holds.")
    guard: str | None = Field(description="The suite that becomes one of the model's, by id.")


class JobComparisonView(ResponseModel):
    """The version that searches, and the version whose vectors are in the index."""

    version: int
    baseline: int = Field(alias="from")


class JobVectorsView(ResponseModel):
    """The version that embeds images, and the dataset version that they are of."""

    version: int
    dataset: str = Field(description="Id of the dataset.")
    dataset_version: int


class JobSummaryView(ResponseModel):
    """A job without its recipe. `status` takes the listed values alone; `phase` says more."""

    id: str = Field(examples=["job_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    type: orders.JobType
    status: JobStatus
    done: bool = Field(validation_alias=AliasPath("status", "done"))
    phase: str = Field(examples=["training"])
    progress: ProgressView
    model: str | None = Field(examples=["demo"], description="Null for a job without a model.")
    parent_version: int | None
    parent_digest: str | None
    dataset_version: DatasetVersionRef | None = Field(description="What an update learns from.")
    images: ImportView | None = Field(description="What an import of images reads.")
    conversion: ConversionView | None = Field(description="What a conversion makes.")
    blame: BlameOrderView | None = Field(description="What a blame asks.")
    export: JobExportView | None = Field(description="What an export writes.")
    bundle: JobBundleView | None = Field(description="What an import of a version reads.")
    comparison: JobComparisonView | None = Field(
        description="What a comparison with an old index asks."
    )
    vectors: JobVectorsView | None = Field(description="What a re-embedding stores.")
    precision: Precision | None = Field(
        description="Arithmetic of an update, chosen when a worker first claims it and then kept; "
        "null until then."
    )
    captions: DatasetVersionRef | None = Field(
        description="The dataset version whose captions an update teaches beside classes."
    )
    reference: DatasetVersionRef | None
    priority: int
    attempt: int
    retry_of: str | None
    result: dict[str, Any] | None = Field(examples=[{"version": 2, "verdict": "passed"}])
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    metadata: dict[str, str]
    links: dict[str, str]


class JobView(JobSummaryView):
    """A job with its recipe."""

    recipe: dict[str, Any] | None = Field(
        description="With every field. If it was ordered while the model was being imported, those "
        "that the order left out are set when the job starts."
    )


_ORDERS: dict[str, type[orders.Order]] = {  # the field that shows an order, by the order's type
    "images": orders.ImportImagesOrder,
    "conversion": orders.ConvertOrder,
    "blame": orders.BlameOrder,
    "export": orders.ExportOrder,
    "bundle": orders.ImportVersionOrder,
    "comparison": orders.CompareIndexOrder,
    "vectors": orders.ReembedOrder,
}


def job_view(named: NamedJob) -> JobView:
    """Return the view of a job."""
    order = named.job.order
    recipe = order.recipe.to_json() if isinstance(order, orders.UpdateOrder) else None
    return JobView(**vars(job_summary(named)), recipe=recipe)


def job_summary(named: NamedJob) -> JobSummaryView:
    """Return the view of a job in a list."""
    job, order = named.job, named.job.order
    update = order if isinstance(order, orders.UpdateOrder) else None
    return JobSummaryView.of(
        job,
        model=named.model,
        parent_digest=named.parent_digest,
        dataset_version=update and taught_by(update),
        **{name: order if isinstance(order, kind) else None for name, kind in _ORDERS.items()},
        captions=update and update.captions,
        reference=update and update.reference,
        links=_links(job, named.model),
    )


def _links(job: Job, model: str | None) -> dict[str, str]:
    here, order = f"/v1/jobs/{job.id}", job.order
    links = {"self": here, "events": f"{here}/events"}
    if model is not None:
        links["model"] = f"/v1/models/{model}"
    if not job.status.done:
        links["cancel"] = f"{here}/cancel"
    scored = job.version
    if isinstance(order, orders.EvaluateOrder | orders.BlameOrder):
        scored = order.version
    of_version = f"/v1/models/{model}/versions/"
    match order:
        case orders.EraseOrder():
            links["erasure"] = f"/v1/erasures/{order.erasure}"
        case orders.ImportImagesOrder():
            links["dataset"] = f"/v1/datasets/{order.dataset}"
            if job.result is not None:
                links["report"] = f"{here}/report"
        case orders.BlameOrder() if job.result is not None:
            links["blame"] = f"{here}/blame"
        case orders.ExportOrder():
            links["version"] = f"{of_version}{order.version}"
            links["export"] = f"{links['version']}/exports/{order.format}"
        case orders.ImportVersionOrder() if job.result is not None:
            links["version"] = f"{of_version}{job.result['version']}"
            links["origin"] = f"{links['version']}/origin"
        case orders.CompareIndexOrder():
            links["version"] = f"{of_version}{order.version}"
            links["compatibility"] = f"{links['version']}/compatibility/{order.baseline}"
        case orders.ReembedOrder():
            where = f"{order.dataset}/{order.dataset_version}"
            links["version"] = f"{of_version}{order.version}"
            links["vectors"] = f"{links['version']}/vectors/{where}"
    if scored is not None:
        links["version"] = f"{of_version}{scored}"
        links["forgetting"] = f"{links['version']}/forgetting?job={job.id}"
    return links


class EventView(ResponseModel):
    """An event in a job's history."""

    id: int = Field(
        validation_alias="sequence",
        examples=[3],
        description="Sequence number within the job, from 1.",
    )
    kind: str = Field(examples=["phase"])
    data: dict[str, Any] = Field(examples=[{"phase": "training", "step": 0, "total": 480}])
    at: datetime


# Advice.


class FindingView(ResponseModel):
    """Something to consider before an update is ordered."""

    code: str = Field(examples=["few_training_images"])
    severity: Severity = Field(description="A warning asks for a change; the update can start.")
    message: str = Field(
        examples=["These classes have fewer than 16 training images: boot (3). Add images of them."]
    )
    facts: dict[str, Any] = Field(examples=[{"classes": {"boot": 3}, "least": 16}])


class ClassAdviceView(ResponseModel):
    """The numbers of one class."""

    name: str = Field(examples=["boot"])
    train: int = Field(description="Training images.")
    holdout: int = Field(description="Images held out of training.")
    test: int = Field(description="Those of the holdout that the verdict is based on.")
    asked: int | None = Field(
        description="Images that the parent was asked about; null if it was not asked."
    )
    recognised: int | None = Field(description="Those of them that the parent recognised.")


class AdviceView(ResponseModel):
    """Advice on an update that could start."""

    model: str = Field(validation_alias=AliasPath("model", "name"), examples=["demo"])
    parent_version: int | None = Field(
        validation_alias="parent", description="Null while the model's root is imported."
    )
    dataset_version: DatasetVersionRef
    recipe: dict[str, Any] = Field(description="With every field.")
    classes: list[ClassAdviceView]
    steps: int = Field(examples=[48])
    expected_s: float | None = Field(
        validation_alias="seconds",
        examples=[180.0],
        description="Training and scoring, from earlier updates of this model; null if unknown.",
    )
    findings: list[FindingView]


def advice_view(advice: Advice) -> AdviceView:
    """Return the view of advice."""
    return AdviceView.of(
        advice,
        dataset_version=taught_by(advice.order),
        recipe=advice.order.recipe.to_json(),
        classes=[
            ClassAdviceView.of(
                one.images,
                asked=one.recognised and one.recognised.asked,
                recognised=one.recognised and one.recognised.right,
            )
            for one in advice.classes
        ],
    )


# The list of jobs.


class JobQuery(BaseModel):
    """The query of a list of jobs, of the API and of its page."""

    limit: Limit = 50
    after: After = None
    model: str | None = Field(default=None, description="Jobs of this model.")
    job_type: orders.JobType | None = Field(
        default=None, alias="type", description="Jobs of this type."
    )
    status: JobStatus | None = Field(default=None, description="Jobs with this status.")
    created_since: Time | None = Field(
        default=None,
        description="Jobs created at this time or later.",
        examples=["2026-11-26T09:30:00Z"],
    )
    created_until: Time | None = Field(default=None, description="Jobs created before this time.")
    metadata: str | None = Field(
        default=None,
        min_length=1,
        max_length=600,
        examples=["team:shoes"],
        description="Jobs with this metadata: `KEY:VALUE`, or `KEY` for any value. The key ends at "
        "the first colon.",
    )

    def read(self, work: Work, limit: int) -> Sequence[NamedJob]:
        """Return the first `limit` jobs of the page, newest first. Raises ModelNotFound."""
        key, colon, value = (self.metadata or "").partition(":")
        return work[Jobs].named_page(
            limit,
            JobId(self.after) if self.after else None,
            model=work[Models].get(self.model).id if self.model else None,
            job_type=self.job_type,
            status=self.status,
            since=self.created_since,
            until=self.created_until,
            metadata=(key, value if colon else None) if self.metadata else None,
        )
