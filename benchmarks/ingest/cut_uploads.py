"""Uploads whose connection is cut at a random byte, and which are resumed as by any tus client."""

import hashlib
import random
import socket
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.ingest.jpegs import pack_zip
from demo.service import Service, running_service
from perennial import Client

DATASET = "photographs"
IMAGES = 200  # of the archive that is sent each time
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing discards what was not sent, and resets
_TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


def cut_uploads(folder: Path, paths: Sequence[Path], count: int) -> dict[str, Any]:
    """Send an archive so many times, each cut once; return how many were stored as they are."""
    choice = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="perennial-cuts-") as scratch:
        archive = Path(scratch) / "photographs.zip"
        pack_zip(folder, paths[:IMAGES], archive)
        data = archive.read_bytes()
        with running_service(Path(scratch) / "home") as service, service.client() as client:
            client.datasets.create(DATASET)
            kept = [_sent_in_two(service, client, data, choice) for _ in range(count)]
    same = [share for share, digest in kept if digest == hashlib.sha256(data).hexdigest()]
    return {
        "archive bytes": len(data),
        "resumed to the same digest": f"{len(same)} of {count}",
        "kept of what was sent": sum(same) / len(same) if same else 0.0,
    }


def _sent_in_two(
    service: Service, client: Client, data: bytes, choice: random.Random
) -> tuple[float, str]:
    """Send an archive, cut and resumed; return the share that the cut left, and its digest."""
    upload = client.uploads.create(len(data))["id"]
    cut = choice.randrange(1, len(data))
    _cut(service, upload, data, cut, reset=choice.random() < 0.5)
    first = _resume(service, upload, data)
    job = client.datasets.import_upload(DATASET, upload, validate_only=True)
    client.jobs.cancel(job["id"])
    client.uploads.delete(upload)
    if job["images"] is None:
        raise RuntimeError("the job imports no images")
    return first / cut, job["images"]["archive"]


def _cut(service: Service, upload: str, data: bytes, cut: int, *, reset: bool) -> None:
    """Announce all of the data, send its first bytes and close the connection."""
    place = urlsplit(service.url)
    fields = {
        "Host": place.netloc,
        "Authorization": f"Bearer {service.key}",
        "Upload-Offset": "0",
        "Content-Length": str(len(data)),
        **_TUS,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with socket.create_connection((place.hostname, place.port)) as connection:
        connection.sendall(f"PATCH /v1/uploads/{upload} HTTP/1.1\r\n{head}\r\n".encode())
        connection.sendall(data[:cut])
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _resume(service: Service, upload: str, data: bytes) -> int:
    """Ask for the offset and send the rest, again while the cut part is still being stored.

    Returns the offset at which the rest began that was accepted.
    """
    path = f"/v1/uploads/{upload}"
    authorised = {"Authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=service.url, headers=authorised, trust_env=False) as http:
        while True:
            offset = int(http.head(path).raise_for_status().headers["Upload-Offset"])
            answer = http.patch(
                path, content=data[offset:], headers=_TUS | {"Upload-Offset": str(offset)}
            )
            if answer.status_code != httpx.codes.CONFLICT:
                answer.raise_for_status()
                return offset
