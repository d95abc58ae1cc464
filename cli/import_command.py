"""`perennial import`: have a running service import a folder, an archive or part of a bucket."""

import argparse
import json
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.progress import Progress

from cli.service import reply, service
from core.domain.datasets.bucket import SCHEME
from core.errors import FieldInvalid, PerennialError

TIMEOUT_S = 600.0
POLL_S = 0.5
OUTCOMES = ("created", "duplicate", "label_conflict", "rejected")


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    about = "import a folder, an archive or a part of an S3 bucket into a dataset"
    command = commands.add_parser(
        "import",
        help=about,
        description=f"{about[0].upper()}{about[1:]}: all of them, or none if it fails. Folders "
        "become classes, unless CSV or JSON Lines files beside the images list them. The running "
        "service is asked with the key in PERENNIAL_ADMIN_KEY.",
    )
    command.add_argument("dataset", help="name of the dataset, which must exist")
    command.add_argument(
        "source",
        help="folder, zip, tar or tar.gz file, or s3://BUCKET/PREFIX, which the service itself "
        "reads if PERENNIAL_IMPORT_BUCKETS names the bucket",
    )
    command.add_argument(
        "--validate-only",
        action="store_true",
        help="only say what would become of each file; the dataset does not change",
    )
    command.add_argument("--report", type=Path, metavar="FILE", help="write the report as CSV")
    command.add_argument("--url", help="the service (default: at PERENNIAL_HOST, PERENNIAL_PORT)")
    command.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    console = Console(stderr=True, highlight=False, markup=False)
    with service(chosen.url, timeout_s=TIMEOUT_S) as client:
        job = _wait(client, _order(client, chosen), console)
        if job["status"] != "succeeded":
            raise PerennialError(_failure(job["error"]))
        report = job["links"]["report"]
        for line in reply(client, "GET", report).text.splitlines():
            row = json.loads(line)
            if row["error"]:
                console.print(f"{row['file']}: {row['error']['detail']}", soft_wrap=True)
        if chosen.report is not None:
            table = reply(client, "GET", report, headers={"Accept": "text/csv"})
            chosen.report.write_bytes(table.content)
    counts = ", ".join(f"{job['result'][outcome]} {outcome}" for outcome in OUTCOMES)
    Console(highlight=False, markup=False).print(counts)
    return 0


def _order(client: httpx.Client, chosen: argparse.Namespace) -> Any:
    path = f"/v1/datasets/{quote(chosen.dataset, safe='')}/imports"
    query = {"validate_only": "true"} if chosen.validate_only else {}
    if chosen.source.startswith(SCHEME):
        return reply(client, "POST", path, params=query | {"s3": chosen.source}).json()
    headers = {"Content-Type": "application/octet-stream"}
    with _opened(Path(chosen.source)) as archive:
        sent = {"content": archive, "headers": headers, "params": query}
        return reply(client, "POST", path, **sent).json()


@contextmanager
def _opened(source: Path) -> Iterator[IO[bytes]]:
    """Open an archive, or pack a folder into a temporary one. Raises FieldInvalid."""
    try:
        if not source.is_dir():
            with source.open("rb") as file:
                yield file
            return
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
                for path in sorted(path for path in source.rglob("*") if path.is_file()):
                    archive.add(path, str(path.relative_to(source)), recursive=False)
            packed.seek(0)
            yield packed
    except OSError as error:
        raise FieldInvalid(f"{source} cannot be read: {error.strerror}.") from error


def _failure(error: Any) -> str:
    """Return why an import has added nothing; `error` is None if it was cancelled."""
    if error is None:
        return "The import was cancelled."
    return f"{error['file']}: {error['message']}" if "file" in error else str(error["message"])


def _wait(client: httpx.Client, job: Any, console: Console) -> Any:
    """Return the job once it has ended."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Waiting for a worker")
        while not job["done"]:
            time.sleep(POLL_S)
            job = reply(client, "GET", job["links"]["self"]).json()
            done = job["progress"]
            progress.update(
                task, description=job["phase"], completed=done["step"], total=done["total"] or None
            )
    return job
