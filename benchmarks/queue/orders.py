"""Models, a dataset version and queued updates, made with the service's own use cases."""

from collections.abc import Sequence

from benchmarks.queue.no_op_tools import instant_tools
from benchmarks.synthetic_images import stored_pictures
from core.domain.access.principal import Principal
from core.domain.access.roles import Role
from core.domain.datasets.dataset import Dataset, DatasetImage, DatasetKind, DatasetVersion, Image
from core.domain.jobs.job import Job
from core.domain.jobs.order import JobType, Queue, UpdateOrder
from core.domain.recipes.recipe import Recipe
from core.domain.registry.version import Model
from core.domain.values import DatasetId, JobId, new_id
from core.ports import Platform
from core.use_cases.datasets.freeze import freeze_version
from core.use_cases.datasets.suites import ensure_default_policy
from core.use_cases.jobs.queue import JobRequest, enqueue
from core.use_cases.registry.create_model import create_model
from core.use_cases.run_job import run_next_job

REQUEST = JobRequest(principal=Principal(name="bench", role=Role.ADMIN))
IMAGES = 40  # of two classes
SIDE = 16  # pixels


class NoNotifier:
    """A notifier for a benchmark whose workers look for jobs all the time."""

    def notify(self, job: JobId, queue: Queue) -> None:
        """Do nothing."""


def import_models(platform: Platform, count: int) -> Sequence[Model]:
    """Create models, each with a root that is live."""
    ensure_default_policy(platform)
    tools = instant_tools(platform)
    for number in range(count):
        create_model(platform, NoNotifier(), REQUEST, name=f"m{number}", base="bundled")
        run_next_job(platform, tools, owner="import", stopping=lambda: False)
    with platform.transactions(read_only=True) as work:
        return [work.models.get(f"m{number}") for number in range(count)]


def freeze_images(platform: Platform) -> DatasetVersion:
    """Create a version of a dataset of cats and dogs."""
    now = platform.clock()
    dataset = Dataset(
        id=DatasetId(new_id("ds", now)), name="pets", kind=DatasetKind.LABELLED, created_at=now
    )
    names = ("cat", "dog") * (IMAGES // 2)
    rows = [
        DatasetImage(
            dataset=dataset.id,
            image=Image(
                pixels=entry.pixels,
                artifact=entry.artifact,
                width=SIDE,
                height=SIDE,
                size=len(platform.artifacts.get(entry.artifact)),
                dhash=entry.pixels[:16],
            ),
            text=entry.class_name,
            file_label="picture.webp",
            added_at=now,
        )
        for entry in stored_pictures(platform.artifacts, names, side=SIDE)
    ]
    with platform.transactions() as work:
        work.datasets.add(dataset)
        work.datasets.add_images(dataset.id, rows)
        work.commit()
    return freeze_version(platform, dataset.id)


def queue_updates(
    platform: Platform, models: Sequence[Model], data: DatasetVersion, count: int
) -> Sequence[Job]:
    """Queue `count` updates, of each model in turn."""
    order = UpdateOrder(
        dataset=data.dataset, dataset_version=data.number, recipe=Recipe(), auto_promote=False
    )
    jobs = []
    with platform.transactions() as work:
        for number in range(count):
            model, now = models[number % len(models)], platform.clock()
            jobs.append(enqueue(work, REQUEST, model, JobType.UPDATE, order, now))
        work.commit()
    return jobs
