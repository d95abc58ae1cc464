"""Receive images: decode, find near-duplicates, record."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from core import errors
from core.audit import record as audit
from core.audit.rules import Action
from core.database.idempotency import Idempotency, IdempotentReply
from core.database.work import Work
from core.datasets.image_lists import ImageWithThumbnail, SimilarImage, group_of
from core.datasets.manifests import Side
from core.datasets.rows import Datasets, ErasedImages
from core.datasets.rules import Dataset, DatasetImage, DatasetKind, Image
from core.datasets.similarity import Arrivals, Placing
from core.datasets.thumbnail_rows import PlacedGroups, Splits, Thumbnails
from core.datasets.uploads import Receipt, Upload, UploadOutcome
from core.datasets.version_rows import Suites
from core.platform import Platform
from core.settings import Settings
from core.values import Digest, JobId, ignore_progress

# Near-duplicates among arriving images, and among these and known ones.
#
# The search is done before the transaction that records the new ones; within it, only what has come
# since is searched.


@dataclass(frozen=True, kw_only=True)
class SimilaritySearch:
    """The near-duplicates of arriving images, by their thumbnails."""

    position: int
    known: Mapping[str, Sequence[SimilarImage]]  # among the images up to the position, if any
    arriving: Arrivals


def search_uploads(
    platform: Platform,
    uploads: Sequence[Upload],
    progress: Callable[[int, int], object] = ignore_progress,
) -> SimilaritySearch:
    """Search all known images, and the uploads themselves, for near-duplicates of the latter.

    `progress` is called with the number of thumbnails searched for, and of all.
    """
    thumbnails = list(dict.fromkeys(thumbnail for _, thumbnail in _seen(uploads)))
    with platform.transactions(read_only=True) as work:
        index = work[Thumbnails].all()
    whole = len(thumbnails)
    known = index.near(thumbnails, lambda done, most: progress(whole * done // (2 * most), whole))
    arriving = Arrivals(thumbnails, lambda done, most: progress((most + done) // 2, whole))
    return SimilaritySearch(position=index.position, known=known, arriving=arriving)


def _seen(uploads: Sequence[Upload]) -> list[ImageWithThumbnail]:
    return [(upload.image, upload.thumbnail) for upload in uploads if upload.image]


@dataclass(frozen=True, kw_only=True)
class GroupedImage:
    """An image in its group, and all groups that it looks like, its own among them."""

    image: Image
    alike: tuple[Digest, ...]
    side: Side | None  # None: no version has placed its group yet


def group(
    work: Work, arriving: Iterable[ImageWithThumbnail], searched: SimilaritySearch
) -> dict[Digest, GroupedImage | errors.Invalid]:
    """Put images into their groups, in the order they come; keeps others from adding any.

    A known image stays where it is. One that looks like both sides is answered by the error. If one
    looks like several groups, these get their common side at once, so that none of them ends up on
    the other.
    """
    arriving = list(arriving)
    work[Thumbnails].lock()
    recent = work[Thumbnails].after(searched.position)
    known = work[Thumbnails].originals({image.pixels for image, _ in arriving})
    near = recent.near(searched.arriving.numbers)
    sides = work[PlacedGroups].sides(
        {original or pixels for pixels, original in known.items()}
        | {
            like.group
            for found in (searched.known, near)
            for similar_images in found.values()
            for like in similar_images
        }
    )
    split, linked = work[Splits].get(), dict[Digest, Side]()
    placed: dict[Digest, GroupedImage | errors.Invalid] = {}
    placing = Placing(searched.arriving)
    for image, thumbnail in arriving:
        if image.pixels in placed:
            continue
        number = searched.arriving.numbers[thumbnail]
        similar_images = [*searched.known.get(thumbnail, ()), *near.get(thumbnail, ())]
        similar_images += placing.near(number, {like.group for like in similar_images})
        alike = {like.group for like in similar_images}
        if image.pixels in known:
            original = known[image.pixels]
        else:
            try:
                original = group_of(similar_images, sides, split)
            except errors.SplitConflict as conflict:
                placed[image.pixels] = conflict
                continue
            placing.put(number, original or image.pixels)  # the same for equal thumbnails
            if len(alike) > 1:
                linked |= {one: sides.get(one, split.side_of(one)) for one in alike}
                sides |= linked
        placed[image.pixels] = GroupedImage(
            image=replace(image, near_duplicate_of=original) if original else image,
            alike=tuple({original or image.pixels, *alike}),
            side=sides.get(original or image.pixels),
        )
    work[PlacedGroups].add(linked)
    return placed


# The quota of stored images.


def require_quota(settings: Settings, work: Work, images: Iterable[Image | None]) -> None:
    """Raise QuotaExceeded unless images fit into the quota; a refused upload has none.

    It is called before uploads are stored. Uploads that are received at the same moment do not
    know of each other, so together they may exceed the quota, but never the free disk space.
    """
    quota = settings.max_stored_bytes
    if not quota:
        return
    held = work[Datasets].stored_bytes()
    needed = work[Datasets].missing_bytes([image for image in images if image])
    if held + needed > quota:
        raise errors.QuotaExceeded(
            f"The images need {needed:,} bytes, and {max(0, quota - held):,} of the quota of "
            f"{quota:,} bytes are free: delete images that are not needed any more.",
            needed_bytes=needed,
            stored_bytes=held,
            quota_bytes=quota,
        )


# Uploads that become images of a dataset.


def delete_erased(platform: Platform, uploads: Sequence[Upload]) -> None:
    """Delete what was just stored of images that were erased before.

    If one is erased after this, the erasure deletes it.
    """
    images = [upload.image for upload in uploads if upload.image]
    with platform.transactions(read_only=True) as work:
        erased = work[ErasedImages].erased({image.pixels for image in images})
    for image in images:
        if image.pixels in erased:
            platform.artifacts.delete(image.artifact)


def require_accepted(receipts: list[Receipt]) -> list[Receipt]:
    """Return receipts. Raises AllRejected, with them, when no file was accepted."""
    if not any(receipt.accepted for receipt in receipts):
        raise errors.AllRejected(files=[receipt.to_json() for receipt in receipts])
    return receipts


def receive(
    work: Work,
    dataset: Dataset,
    uploads: Sequence[Upload],
    searched: SimilaritySearch,
    now: datetime,
    *,
    job: JobId | None = None,
) -> list[Receipt]:
    """Put decoded uploads into a dataset, within a transaction, even if all are refused.

    `job` is the import that brings them.
    """
    placed = group(work, _seen(uploads), searched)
    placed |= {
        pixels: errors.ImageErased(pixels=pixels) for pixels in work[ErasedImages].erased(placed)
    }
    groups = {
        alike for one in placed.values() if isinstance(one, GroupedImage) for alike in one.alike
    }
    reception = _Receiving(
        dataset=dataset,
        placed=placed,
        in_suites=work[Suites].contains(groups),
        texts={
            pixels: [*texts] for pixels, texts in work[Datasets].texts(dataset.id, placed).items()
        },
        now=now,
    )
    receipts = [reception.receive(upload) for upload in uploads]
    if not any(receipt.accepted for receipt in receipts):
        return receipts
    work[Datasets].add_images(dataset.id, reception.rows)
    if known := sum(receipt.outcome is UploadOutcome.DUPLICATE for receipt in receipts):
        work[Datasets].count_duplicates(dataset.id, known)
    work[Thumbnails].add(reception.seen)
    if reception.rows:
        audit.record(
            work,
            Action.DATASET_EXTENDED,
            f"datasets/{dataset.name}",
            now=now,
            after={"added": len(reception.rows)} | ({"job": job} if job else {}),
        )
    return receipts


@dataclass(frozen=True, kw_only=True)
class _Receiving:
    """Uploads are received one by one; what they add is collected and stored at once."""

    dataset: Dataset
    placed: Mapping[Digest, GroupedImage | errors.Invalid]
    in_suites: set[Digest]  # groups
    texts: dict[Digest, list[str]]  # of the images in the dataset, with those collected
    now: datetime
    rows: list[DatasetImage] = field(default_factory=list)
    seen: list[ImageWithThumbnail] = field(default_factory=list)

    def receive(self, upload: Upload) -> Receipt:
        """Collect one upload, unless it is refused."""
        text, label = upload.text, upload.file_label
        receipt = Receipt(file_label=label, text=text, outcome=UploadOutcome.REJECTED)
        if upload.image is None:
            return replace(receipt, refusal=upload.refusal)
        placed = self.placed[upload.image.pixels]
        if not isinstance(placed, GroupedImage):
            return replace(receipt, refusal=placed)
        image = placed.image
        receipt = replace(receipt, near_duplicate_of=image.near_duplicate_of)
        labelled = self.dataset.kind is DatasetKind.LABELLED
        if labelled and not self.in_suites.isdisjoint(placed.alike):
            return replace(receipt, refusal=errors.ImageInSuite(pixels=image.pixels))
        receipt = replace(receipt, pixels=image.pixels, side=placed.side)
        known = self.texts.setdefault(image.pixels, [])
        if text in known:
            return replace(receipt, outcome=UploadOutcome.DUPLICATE)
        if known and labelled:
            held = known[0]
            conflict = errors.LabelConflict(f"The image is in this dataset as {held!r}.", held=held)
            return replace(receipt, outcome=UploadOutcome.LABEL_CONFLICT, refusal=conflict)
        known.append(text)
        self.seen.append((image, upload.thumbnail))
        self.rows.append(
            DatasetImage(
                dataset=self.dataset.id,
                image=image,
                text=text,
                file_label=label,
                added_at=self.now,
            )
        )
        return replace(receipt, outcome=UploadOutcome.CREATED)


# Batches of uploads, each received once, however often it is sent.

NO_JOB = JobId("")  # of the key of a batch


@dataclass(frozen=True, kw_only=True)
class BatchKey:
    """The Idempotency-Key of a batch: whose it is, and the digest of what was sent under it."""

    actor: str
    key: str
    body: Digest


def require_unused(platform: Platform, batch: BatchKey) -> None:
    """Raise IdempotencyMismatch for a key that was used for something else."""
    with platform.transactions(read_only=True) as work:
        _find(work, batch)


def record_uploads(
    platform: Platform,
    dataset: Dataset,
    uploads: Sequence[Upload],
    batch: BatchKey | None = None,
) -> list[Receipt]:
    """Put decoded and stored uploads into a dataset, in one transaction; one receipt a file.

    A batch that has arrived before changes nothing, and gets the receipts that it had. Raises
    IdempotencyMismatch for a key that was used for something else, and InProgress.
    """
    searched = search_uploads(platform, uploads)
    delete_erased(platform, uploads)
    now = platform.clock()
    with platform.transactions() as work:
        arrived = _find(work, batch)
        receipts = receive(work, dataset, uploads, searched, now)
        if arrived is not None:
            return _as_before(work, dataset, receipts, arrived.created_at)  # is rolled back
        if batch is not None and any(receipt.accepted for receipt in receipts):
            reply = IdempotentReply(**vars(batch), job=NO_JOB, created_at=now)
            work[Idempotency].add(reply)
        work.commit()
    return receipts


def _find(work: Work, batch: BatchKey | None) -> IdempotentReply | None:
    reply = work[Idempotency].find(batch.actor, batch.key) if batch else None
    if batch and reply and reply.body != batch.body:
        raise errors.IdempotencyMismatch
    return reply


def _as_before(
    work: Work, dataset: Dataset, receipts: Sequence[Receipt], arrived_at: datetime
) -> list[Receipt]:
    """Return receipts as they were when their batch arrived: it created what came at that time."""
    seen = {receipt.pixels for receipt in receipts if receipt.pixels}
    added_at = work[Datasets].added_at(dataset.id, seen)
    created = {added for added, at in added_at.items() if at == arrived_at}
    found = []
    for receipt in receipts:
        added = (receipt.pixels, receipt.text)
        if added in created and receipt.outcome is UploadOutcome.DUPLICATE:
            created.remove(added)  # a second file of the same image was a duplicate
            found.append(replace(receipt, outcome=UploadOutcome.CREATED))
        else:
            found.append(receipt)
    return found
