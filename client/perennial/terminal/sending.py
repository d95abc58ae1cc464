"""Sending images: in forms, or as an archive whose upload can go on after an interruption."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from perennial.client import Client
from perennial.errors import ServiceError
from perennial.terminal.failures import Failure
from perennial.terminal.following import follow
from perennial.terminal.output import note
from perennial.terminal.progress import bytes_bar, count_bar
from perennial.types.datasets import DatasetKind, Receipt
from perennial.types.jobs import Job

OUTCOMES = ("created", "duplicate", "label_conflict", "rejected")


def ensure_dataset(client: Client, name: str, kind: DatasetKind = "labelled") -> None:
    """Create a dataset unless it exists. Raises Failure if it is of another kind."""
    try:
        client.datasets.create(name, kind=kind)
    except ServiceError as error:
        if error.code != "name_taken":
            raise
        found = client.datasets.get(name)["kind"]
        if found != kind:
            raise Failure(f"There is already a dataset {name}, which is {found}.") from error


def send_images(client: Client, name: str, images: Sequence[tuple[str, Path]]) -> Counter[str]:
    """Send images with their classes or captions, name the refused ones and count the outcomes."""
    with count_bar("sending", len(images)) as advance:
        receipts = client.datasets.upload(name, images, on_batch=advance)
    _name_refused((str(path), one) for (_, path), one in zip(images, receipts, strict=True))
    return Counter(receipt["outcome"] for receipt in receipts)


def send_archive(
    client: Client,
    name: str,
    source: Path,
    *,
    upload: str | None = None,
    validate_only: bool = False,
) -> Job:
    """Send an archive, or a folder as one, import it, and name the refused files.

    Raises JobFailed, and Failure if `upload` is of another file. If it is interrupted, the id of
    the upload is printed, with which it can go on.
    """
    started: list[str] = []
    try:
        with bytes_bar("sending") as on_bytes:
            sent = client.uploads.send(
                source, upload=upload, on_start=started.append, on_bytes=on_bytes
            )
    except ValueError as error:
        raise Failure(f"{source} is not what was sent first: {error}") from error
    except BaseException:
        if started:
            note(f"Go on with the same command and --upload {started[0]}.")
        raise
    return _finish(client, client.datasets.import_upload(name, sent, validate_only=validate_only))


def import_bucket(client: Client, name: str, address: str, *, validate_only: bool = False) -> Job:
    """Have the service import a part of a bucket, and name the refused files. Raises JobFailed."""
    return _finish(
        client, client.datasets.import_bucket(name, address, validate_only=validate_only)
    )


def _finish(client: Client, job: Job) -> Job:
    job = follow(client, job["id"])
    _name_refused((row["file"], row) for row in client.datasets.import_report(job["id"]))
    return job


def _name_refused(receipts: Iterable[tuple[str, Receipt]]) -> None:
    for file, receipt in receipts:
        if receipt["error"] is not None:
            note(f"{file}: {receipt['error']['detail']}")
