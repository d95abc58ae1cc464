"""Put batches of uploads into a dataset, each once, however often it is sent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from core.domain.datasets.dataset import Dataset
from core.domain.values import Digest, JobId
from core.errors import IdempotencyMismatch
from core.ports import Decoder, IdempotentReply, Platform, UnitOfWork
from core.use_cases.datasets.datasets import Receipt, Upload, UploadOutcome
from core.use_cases.datasets.record_uploads import delete_erased, receive, search_uploads

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


def record_batch(
    platform: Platform,
    decoder: Decoder,
    dataset: Dataset,
    uploads: Sequence[Upload],
    batch: BatchKey | None,
) -> list[Receipt]:
    """Put decoded and stored uploads into a dataset, in one transaction; one receipt a file.

    A batch that has arrived before changes nothing, and gets the receipts that it had. Raises
    IdempotencyMismatch for a key that was used for something else, and InProgress.
    """
    searched = search_uploads(platform, decoder, uploads)
    delete_erased(platform, uploads)
    now = platform.clock()
    with platform.transactions() as work:
        arrived = _find(work, batch)
        receipts = receive(work, dataset, uploads, searched, now)
        if arrived is not None:
            return _as_before(work, dataset, receipts, arrived.created_at)  # is rolled back
        if batch is not None and any(receipt.accepted for receipt in receipts):
            reply = IdempotentReply(**vars(batch), job=NO_JOB, created_at=now)
            work.idempotency.add(reply)
        work.commit()
    return receipts


def _find(work: UnitOfWork, batch: BatchKey | None) -> IdempotentReply | None:
    reply = work.idempotency.find(batch.actor, batch.key) if batch else None
    if batch and reply and reply.body != batch.body:
        raise IdempotencyMismatch
    return reply


def _as_before(
    work: UnitOfWork, dataset: Dataset, receipts: Sequence[Receipt], arrived_at: datetime
) -> list[Receipt]:
    """Return receipts as they were when their batch arrived: it created what came at that time."""
    seen = {receipt.pixels for receipt in receipts if receipt.pixels}
    added_at = work.datasets.added_at(dataset.id, seen)
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
