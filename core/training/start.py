"""The one-call start: images of some classes become a dataset, its version and an update."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.database.work import Work
from core.datasets.edit import add_dataset
from core.datasets.freeze import draft_manifest, freeze
from core.datasets.manifests import Manifest
from core.datasets.receive import (
    delete_erased,
    receive,
    require_accepted,
    require_quota,
    search_uploads,
)
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind, DatasetRef, DatasetVersion
from core.datasets.uploads import Receipt, Upload
from core.errors import IdempotencyMismatch, TooFewPerClass
from core.jobs.orders import JobType, UpdateOrder
from core.jobs.queue import JobRequest, enqueue, find_replayed, notify_workers, require_queue_room
from core.jobs.rules import Job, JobNotifier
from core.platform import Platform
from core.principal import Role
from core.recipes.rules import Recipe
from core.registry.rows import Models
from core.training.order import preflight_update
from core.values import DatasetId, Json, new_id


@dataclass(frozen=True, kw_only=True)
class Start:
    """The result of the one call."""

    dataset: Dataset
    version: DatasetVersion
    receipts: Sequence[Receipt]
    job: Job


def learn_classes(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    recipe: Json,
    force: bool = False,
    reference: DatasetRef | None = None,
    uploads: Sequence[Upload],
    keep_images: Callable[[], None],
) -> Start:
    """Teach a model the classes of some images, all or nothing.

    Everything is first tried in a transaction that is rolled back before `keep_images` stores
    the first byte, so a refusal leaves nothing behind. The update moves its alias when it passes if
    an operator asks. `recipe` has the fields that differ from the model's default, and `force` is
    that of an `UpdateOrder`. Raises what `order_update` raises, AllRejected, QuotaExceeded, and
    TooFewPerClass also when no image of a class was accepted.
    """
    now = platform.clock()
    dataset_id = DatasetId(new_id("ds", now))
    name = f"{model[:40]}-{dataset_id.removeprefix('ds_')[:16]}"
    dataset = Dataset(id=dataset_id, name=name, kind=DatasetKind.LABELLED, created_at=now)
    order = UpdateOrder(
        dataset=dataset_id,
        dataset_version=1,
        recipe=Recipe.from_json(recipe),
        given=recipe,
        force=force,
        auto_promote=request.principal.may(Role.OPERATOR),
        reference=reference,
    )
    searched = search_uploads(platform, uploads)

    def fill(work: Work) -> list[Receipt]:
        add_dataset(work, dataset)
        return require_accepted(receive(work, dataset, uploads, searched, now))

    def start(work: Work) -> Start:
        """Fill the dataset, freeze it and queue the update."""
        found = work[Models].get(model)
        require_queue_room(platform.settings, work, request.principal, found)
        receipts = fill(work)
        manifest, _ = draft_manifest(work, dataset)
        _require_every_class(uploads, manifest)
        whole = preflight_update(platform, work, found, order, manifest)
        version = freeze(work, platform.artifacts, dataset, now)
        sides = {entry.pixels: entry.side for entry in manifest.entries}
        receipts = [
            replace(one, side=sides.get(one.pixels) if one.pixels else None) for one in receipts
        ]
        whole = replace(whole, dataset_version=version.number)
        job = enqueue(work, request, found, JobType.UPDATE, whole, now)
        return Start(dataset=dataset, version=version, receipts=receipts, job=job)

    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return _again(work, known, fill(work))
        require_quota(platform.settings, work, [upload.image for upload in uploads])
        start(work)
    keep_images()
    delete_erased(platform, uploads)
    with platform.transactions() as work:
        made = start(work)
        work.commit()
    notify_workers(notifier, made.job)
    return made


def _again(work: Work, job: Job, receipts: Sequence[Receipt]) -> Start:
    """Return what the call that first used the Idempotency-Key returned."""
    order = job.order
    if not isinstance(order, UpdateOrder):
        raise IdempotencyMismatch
    return Start(
        dataset=work[Datasets].get(order.dataset),
        version=work[Datasets].version(order.dataset, order.dataset_version),
        receipts=receipts,
        job=job,
    )


def _require_every_class(uploads: Sequence[Upload], manifest: Manifest) -> None:
    """Raise TooFewPerClass for a class that was named and has no image."""
    missing = sorted({upload.text for upload in uploads} - set(manifest.classes))
    if missing:
        raise TooFewPerClass(
            f"No image of these classes was accepted: {', '.join(missing)}.",
            classes=dict.fromkeys(missing, 0),
        )
