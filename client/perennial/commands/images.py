"""Datasets of images, and how commands send them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import httpx

from perennial.client import Client
from perennial.errors import ServiceError
from perennial.terminal.output import bytes_bar, count_bar, note
from perennial.terminal.session import Failure, follow
from perennial.types import DatasetKind, DatasetVersion, Job, Receipt


def told_version(name: str, version: DatasetVersion) -> str:
    """Return what a dataset's version holds, in words."""
    told = f"{name}, version {version['number']}: {_counted(version['images'], 'image')}"
    if not version["classes"]:
        return f"{told}."
    classes = _counted(len(version["classes"]), "class", "classes")
    train, held_out = sides_of(version)
    return (
        f"{told}, {classes}; {train} to train on, {held_out} held out: about a fifth of these for "
        "validation, the others to test."
    )


def _counted(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def sides_of(version: DatasetVersion) -> tuple[int, int]:
    """Return how many images of a version are trained on and held out; (0, 0) for captions."""
    counts = version["counts"].values()
    return sum(one["train"] for one in counts), sum(one["holdout"] for one in counts)


def ensure_dataset(client: Client, name: str, kind: DatasetKind = "labelled") -> bool:
    """Create a dataset unless it exists, and return whether it was created.

    Raises Failure if it is of another kind.
    """
    try:
        client.datasets.create(name, kind=kind)
    except ServiceError as error:
        if error.code != "name_taken":
            raise
        found = client.datasets.get(name)["kind"]
        if found != kind:
            raise Failure(f"There is already a dataset {name}, which is {found}.") from error
        return False
    return True


def take_back(client: Client, name: str) -> None:
    """Delete a dataset that was made for nothing, or say that it stays."""
    try:
        client.datasets.delete(name)
    except (ServiceError, httpx.TransportError) as error:
        note(f"The dataset {name} stays ({error}); `perennial dataset delete {name}` deletes it.")


def send_images(client: Client, name: str, images: Sequence[tuple[str, Path]]) -> Counter[str]:
    """Send images with their classes or captions, name the refused ones and count the outcomes."""
    with count_bar("sending", len(images)) as advance:
        receipts = client.datasets.upload(name, images, on_batch=advance)
    name_refused((str(path), one) for (_, path), one in zip(images, receipts, strict=True))
    return Counter(receipt["outcome"] for receipt in receipts)


def send_archive(client: Client, source: Path, *, upload: str | None = None) -> str:
    """Send a file, or a folder as an archive, and return the id of its upload.

    Raises Failure if `upload` is of another file. If it is interrupted, the id of the upload is
    printed, with which it can go on.
    """
    started: list[str] = []
    try:
        with bytes_bar("sending") as on_bytes:
            return client.uploads.send(
                source, upload=upload, on_start=started.append, on_bytes=on_bytes
            )
    except ValueError as error:
        raise Failure(f"{source} is not what was sent first: {error}") from error
    except BaseException:
        if started:
            note(f"Go on with the same command and --upload {started[0]}.")
        raise


def finish_import(client: Client, job: Job) -> Job:
    """Follow an import, and name the refused files. Raises JobFailed."""
    job = follow(client, job["id"])
    name_refused((row["file"], row) for row in client.datasets.import_report(job["id"]))
    return job


def name_refused(receipts: Iterable[tuple[str, Receipt]]) -> None:
    """Name the files that were refused, each with the reason."""
    for file, receipt in receipts:
        if receipt["error"] is not None:
            note(f"{file}: {receipt['error']['detail']}")
