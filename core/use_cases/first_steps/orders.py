"""Order the first steps: the pack's images, a model that must keep its emoji, an update."""

from datetime import datetime

from core.domain.datasets.archive import ArchiveFormat
from core.domain.datasets.dataset import Dataset, DatasetKind
from core.domain.datasets.suite import SuiteKind
from core.domain.gate.policy import GatePolicy
from core.domain.jobs.job import Job
from core.domain.jobs.order import ImportImagesOrder, UpdateOrder
from core.domain.recipes.prompt import PromptTemplate
from core.domain.recipes.recipe import Recipe
from core.domain.values import DatasetId, PolicyId, new_id
from core.errors import DatasetNotFound, PolicyNotFound, SuiteNotFound
from core.ports import JobNotifier, Platform, UnitOfWork
from core.use_cases.datasets.datasets import add_dataset, require_room
from core.use_cases.datasets.freeze import freeze_version
from core.use_cases.datasets.suites import create_policy, create_suite
from core.use_cases.first_steps.pack import emoji_archive, products_archive
from core.use_cases.imports.order_import import enqueue_import
from core.use_cases.jobs.queue import JobRequest, notify_workers
from core.use_cases.registry.bases import BUNDLED
from core.use_cases.registry.create_model import create_model
from core.use_cases.training.order_update import order_update

MODEL, EMOJI, PRODUCTS, POLICY = "demo", "emoji", "products", "small-model"
IMPORTS = "first_steps"  # in the metadata of an import: the dataset
PROMPT = PromptTemplate("this is a photo of {name} .")  # the bundled model was trained with it
REASON = (
    "A 9-million-parameter model forgets more than a large one, and 1,500 test images leave an "
    "interval of about two points either way: 6 points instead of 3 and 5. The holdout of five "
    "classes has only about 160 test images, which leave about five points either way: 10 points "
    "instead of 5, judged from 100 images on instead of 500."
)


def load_images(platform: Platform, notifier: JobNotifier, request: JobRequest) -> list[Job]:
    """Order the import of the pack's emoji and products into datasets that have no images yet.

    Raises NotFound without a pack, StorageFull or TooManyJobs.
    """
    require_room(platform)
    archives = {EMOJI: emoji_archive(), PRODUCTS: products_archive()}
    stored = {name: platform.artifacts.put(archive) for name, archive in archives.items()}
    now, jobs = platform.clock(), []
    with platform.transactions() as work:
        for name, archive in archives.items():
            dataset = _dataset(work, name, now)
            if work.datasets.count(dataset.id):
                continue
            order = ImportImagesOrder(
                dataset=dataset.id,
                archive=stored[name],
                archive_format=ArchiveFormat.ZIP,
                archive_bytes=len(archive),
            )
            metadata = {IMPORTS: name}
            jobs.append(enqueue_import(platform, work, request, order, now, metadata=metadata))
        work.commit()
    for job in jobs:
        notify_workers(notifier, job)
    return jobs


def make_model(platform: Platform, notifier: JobNotifier, request: JobRequest) -> Job:
    """Make a suite of the emoji, the small model's policy, and order the import of the model.

    What is there already is kept. Raises what `create_suite` and `create_model` raise.
    """
    with platform.transactions(read_only=True) as work:
        frozen = bool(work.datasets.versions(work.datasets.get(EMOJI).id))
    if not frozen:
        freeze_version(platform, EMOJI)
    _ensure_suite(platform)
    _ensure_policy(platform)
    return create_model(
        platform, notifier, request, name=MODEL, base=BUNDLED, suites=(EMOJI,), policy=POLICY
    )


def teach(platform: Platform, notifier: JobNotifier, request: JobRequest) -> Job:
    """Order an update with the products by the default recipe; a person promotes its version.

    Raises what `order_update` raises.
    """
    with platform.transactions(read_only=True) as work:
        versions = work.datasets.versions(work.datasets.get(PRODUCTS).id)
    number = (versions[-1] if versions else freeze_version(platform, PRODUCTS)).number
    order = UpdateOrder(
        dataset=DatasetId(PRODUCTS), dataset_version=number, recipe=Recipe(), auto_promote=False
    )
    return order_update(platform, notifier, request, model=MODEL, order=order)


def _dataset(work: UnitOfWork, name: str, now: datetime) -> Dataset:
    try:
        return work.datasets.get(name)
    except DatasetNotFound:
        kind = DatasetKind.LABELLED
        made = Dataset(id=DatasetId(new_id("ds", now)), name=name, kind=kind, created_at=now)
        add_dataset(work, made)
        return made


def _ensure_suite(platform: Platform) -> None:
    try:
        with platform.transactions(read_only=True) as work:
            work.suites.get(EMOJI)
    except SuiteNotFound:
        create_suite(
            platform,
            name=EMOJI,
            kind=SuiteKind.ZERO_SHOT,
            dataset=EMOJI,
            dataset_version=1,
            prompt=PROMPT,
        )


def _ensure_policy(platform: Platform) -> None:
    try:
        with platform.transactions(read_only=True) as work:
            work.policies.get(POLICY)
    except PolicyNotFound:
        now = platform.clock()
        policy = GatePolicy(
            id=PolicyId(new_id("gate", now)),
            name=POLICY,
            parent_tolerance=0.06,
            root_tolerance=0.06,
            holdout_tolerance=0.1,
            minimum_count=100,
            reason=REASON,
            created_at=now,
        )
        create_policy(platform, policy)
