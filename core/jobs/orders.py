"""Job types, the queues that they wait in, and what each type orders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from core.archives.rules import ArchiveFormat
from core.datasets.columns import WantedColumns
from core.datasets.image_lists import Grouping
from core.datasets.rules import DatasetRef
from core.errors import Forbidden
from core.principal import Principal, Role
from core.recipes.rules import Recipe
from core.registry.exports import ExportFormat
from core.registry.versions import ServingPrecision
from core.values import DatasetId, Digest, ErasureId, Json, SuiteId, from_plain


class Queue(StrEnum):
    """The queue of a job, which determines the workers that may claim it."""

    GPU = "gpu"  # hours on a device
    HOUSEKEEPING = "housekeeping"  # minutes on a CPU, which should not wait for those hours


class JobType(StrEnum):
    """The types of jobs."""

    IMPORT = "import"  # makes a model's root from a base
    UPDATE = "update"  # trains a version and has it scored
    CONVERT = "convert"  # makes a version in another precision and has it scored
    EVALUATE = "evaluate"  # scores a version again
    IMPORT_IMAGES = "import_images"  # puts the images of an archive into a dataset
    ERASE = "erase"  # takes images back from everything that holds them
    BLAME = "blame"  # trains a version again without each of some groups of its images
    EXPORT = "export"  # writes a version as files that other software loads
    IMPORT_VERSION = "import_version"  # makes a version of a signed bundle
    COMPARE_INDEX = "compare_index"  # searches by a version in an index of another one's vectors
    REEMBED = "reembed"  # stores the vectors of a dataset version's images

    @property
    def queue(self) -> Queue:
        """The queue of such a job."""
        return Queue.HOUSEKEEPING if self in _WITHOUT_DEVICE else Queue.GPU

    @property
    def role(self) -> Role:
        """The least role that orders such a job: see `require_to_order`."""
        return _ROLES.get(self, Role.CONTRIBUTOR)

    @property
    def is_scored(self) -> bool:
        """True for jobs that ask versions about suites: these and the policy are pinned."""
        return self not in _WITHOUT_DEVICE | {JobType.REEMBED}


_WITHOUT_DEVICE = frozenset(
    {
        *(JobType.IMPORT, JobType.IMPORT_IMAGES, JobType.ERASE),
        *(JobType.EXPORT, JobType.IMPORT_VERSION),
    }
)

_ROLES = {
    JobType.IMPORT: Role.OPERATOR,
    JobType.ERASE: Role.ADMIN,
    JobType.IMPORT_VERSION: Role.ADMIN,
}


@dataclass(frozen=True, kw_only=True)
class ImportOrder:
    """An order to make version 1 of a model from a base.

    Bases are 'bundled', 'name:pretrained' or a folder.
    """

    base: str


@dataclass(frozen=True, kw_only=True)
class UpdateOrder:
    """An order to teach the classes or captions of a dataset version, or of two of them both."""

    dataset: DatasetId
    dataset_version: int
    recipe: Recipe
    given: Json | None = None  # the recipe's fields that are to be completed; None: it is whole
    force: bool = False  # learn at a rate far above the model's default
    alias: str = "production"
    parent: int | None = None  # None: the alias's version at the time of the claim
    auto_promote: bool = True
    prompt: str | None = None  # None: the parent's
    captions: DatasetRef | None = None  # taught beside the classes; version 0 until it is frozen
    reference: DatasetRef | None = None  # the reference set that method "zscl" distils
    replaces: int | None = None  # what it trains again, from its parent or what replaces that

    @property
    def beside(self) -> Mapping[str, DatasetRef | None]:
        """The dataset versions that it names beside its dataset, by field."""
        return {name: getattr(self, name) for name in BESIDE}


BESIDE = ("captions", "reference")  # the fields of an update that name another dataset version


@dataclass(frozen=True, kw_only=True)
class ConvertOrder:
    """An order to make a version that has its parent's tensors and another precision."""

    precision: ServingPrecision
    alias: str = "production"
    parent: int | None = None  # None: the alias's version at the time of the claim
    auto_promote: bool = True
    replaces: int | None = None  # the conversion that it repeats on what replaces its parent


CandidateOrder = UpdateOrder | ConvertOrder  # which makes a version, and may promote it


@dataclass(frozen=True, kw_only=True)
class EvaluateOrder:
    """An order to score a version on the model's suites, by its policy, as of the order."""

    version: int
    alias: str = "production"  # whose live version it would replace


@dataclass(frozen=True, kw_only=True)
class ImportImagesOrder:
    """An order to put the images of a stored archive into a dataset.

    For objects of a bucket, their listing is stored as the archive; its bytes are those of all.
    """

    dataset: DatasetId
    archive: Digest
    archive_format: ArchiveFormat
    archive_bytes: int
    validate_only: bool = False  # only report what would become of each file
    source: str | None = None  # s3://bucket/prefix/ of a listing
    # None: found by their names and types
    image_column: str | None = None
    label_column: str | None = None
    caption_column: str | None = None

    @property
    def columns(self) -> WantedColumns:
        """The columns that it names."""
        return WantedColumns(
            image_column=self.image_column,
            label_column=self.label_column,
            caption_column=self.caption_column,
        )


@dataclass(frozen=True, kw_only=True)
class EraseOrder:
    """An order to carry out an erasure."""

    erasure: ErasureId


@dataclass(frozen=True, kw_only=True)
class BlameOrder:
    """An order to find which images of a version's update cost a class its accuracy."""

    version: int
    class_name: str | None = None  # None: each that has fallen since the version's parent
    by: Grouping = Grouping.UPLOAD
    groups: int = 5  # at most; a training run each
    suite: str | None = None  # a suite or holdout whose images alone are asked about; None: all


@dataclass(frozen=True, kw_only=True)
class ExportOrder:
    """An order to write a version in a format, and to check what was written."""

    version: int
    format: ExportFormat


@dataclass(frozen=True, kw_only=True)
class ImportVersionOrder:
    """An order to make a version of a stored bundle."""

    archive: Digest
    archive_bytes: int
    digest: Digest  # of the version, as its bundle says
    guard: SuiteId | None = None  # becomes one of the model's suites, to guard what it was taught


@dataclass(frozen=True, kw_only=True)
class CompareIndexOrder:
    """An order to search by a version in an index of a baseline's vectors."""

    version: int
    baseline: int


@dataclass(frozen=True, kw_only=True)
class ReembedOrder:
    """An order to store the vectors of a dataset version's images by a version."""

    version: int
    dataset: DatasetId
    dataset_version: int


Order = (
    ImportOrder
    | UpdateOrder
    | ConvertOrder
    | EvaluateOrder
    | ImportImagesOrder
    | EraseOrder
    | BlameOrder
    | ExportOrder
    | ImportVersionOrder
    | CompareIndexOrder
    | ReembedOrder
)
OrderT = TypeVar("OrderT", bound=Order)


# Who may order a job, and with the same role and models may cancel it and order it again.


def require_to_order(principal: Principal, job_type: JobType, order: Order) -> None:
    """Raise Forbidden unless a principal may order, and so may cancel and repeat, a job.

    The jobs of models that it may not touch are not there for it. An update or a conversion that
    moves its alias takes the role that moves aliases, and one that an erasure has ordered the role
    that erases.
    """
    principal.require(job_type.role)
    if job_type is JobType.IMPORT:  # it makes a model
        principal.require_every_model()
    if not isinstance(order, CandidateOrder):
        return
    if order.replaces is not None:
        principal.require(JobType.ERASE.role)
    if order.auto_promote and not principal.may(Role.OPERATOR):
        raise Forbidden(
            "An order that moves its alias when the version passes takes at least the role "
            f"{Role.OPERATOR}, also to cancel it. Order one with auto_promote false, and let an "
            "operator promote its version.",
            required_role=Role.OPERATOR.value,
            role=principal.role and principal.role.value,
        )


def replaced_by(order: Order) -> int | None:
    """Return the version that an order repeats without erased images, if it does."""
    return order.replaces if isinstance(order, CandidateOrder) else None


def order_to_json(order: Order) -> dict[str, Any]:
    """Return an order as plain JSON, for storage."""
    value = dict(vars(order))
    if isinstance(order, UpdateOrder):
        value["recipe"] = order.recipe.to_json()
        value |= {name: one and dict(vars(one)) for name, one in order.beside.items()}
    return value


_KINDS: Mapping[JobType, Callable[..., Order]] = {
    JobType.IMPORT: ImportOrder,
    JobType.CONVERT: ConvertOrder,
    JobType.EVALUATE: EvaluateOrder,
    JobType.IMPORT_IMAGES: ImportImagesOrder,
    JobType.ERASE: EraseOrder,
    JobType.BLAME: BlameOrder,
    JobType.EXPORT: ExportOrder,
    JobType.IMPORT_VERSION: ImportVersionOrder,
    JobType.COMPARE_INDEX: CompareIndexOrder,
    JobType.REEMBED: ReembedOrder,
}


def order_from_json(job_type: JobType, value: Json) -> Order:
    """Return the order that `order_to_json` wrote."""
    if job_type is JobType.UPDATE:
        beside = {name: DatasetRef(**value[name]) if value[name] else None for name in BESIDE}
        return UpdateOrder(**{**value, **beside, "recipe": Recipe.from_json(value["recipe"])})
    return from_plain(_KINDS[job_type], value)
