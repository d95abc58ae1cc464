"""Uploads whose connection is cut at a random byte, and which are resumed as by any tus client."""

import argparse
import hashlib
import io
import math
import multiprocessing
import random
import socket
import struct
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from PIL import Image

from benchmarks.output import publish
from demo.service import Service, running_service
from devtools.process_memory import MemorySamples, cpu_seconds, sampled_memory
from perennial.client import Client

# The time that images took, in the service and in the bare loop.


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Seconds of wall-clock time, and of CPU time of all processes that did the work."""

    seconds: float
    cpu: float

    def __add__(self, other: "Taken") -> "Taken":
        """Return the time of both."""
        return Taken(seconds=self.seconds + other.seconds, cpu=self.cpu + other.cpu)


@dataclass(frozen=True, kw_only=True)
class Window:
    """The same images in the service and, half of them before and half after, in the bare loop."""

    images: int
    service: Taken
    bare: Taken


def compared(windows: Sequence[Window]) -> dict[str, Any]:
    """Return the columns of a table: rates, CPU times, and the median of the windows' ratios."""
    images = sum(window.images for window in windows)
    ratios = [window.bare.seconds / window.service.seconds for window in windows]
    by_cpu = [window.bare.cpu / window.service.cpu for window in windows]
    return {
        "images/s": images / sum(window.service.seconds for window in windows),
        "bare images/s": images / sum(window.bare.seconds for window in windows),
        "CPU ms": 1000 * sum(window.service.cpu for window in windows) / images,
        "bare CPU ms": 1000 * sum(window.bare.cpu for window in windows) / images,
        "windows": len(windows),
        "ratio": median(ratios),
        "lowest to highest": f"{min(ratios):.2f} to {max(ratios):.2f}",
        "ratio by CPU": median(by_cpu),
        "lowest to highest by CPU": f"{min(by_cpu):.2f} to {max(by_cpu):.2f}",
    }


# A bare loop that decodes, re-encodes and hashes images: the least that must be done to them.


AT_ONCE = 50  # images that a process takes at a time


@contextmanager
def bare_loop(processes: int, first: Path) -> Iterator[Callable[[Sequence[Path]], Taken]]:
    """Yield what decodes, re-encodes and hashes images in processes that run within the context.

    Each has converted the first image before, and so loaded Pillow.
    """
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawning) as pool:

        def run(paths: Sequence[Path]) -> Taken:
            batches = [paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE)]
            began = time.perf_counter()
            cpu = sum(pool.map(convert, batches))
            return Taken(seconds=time.perf_counter() - began, cpu=cpu)

        list(pool.map(convert, [[first]] * processes))
        yield run


def convert(paths: Sequence[Path]) -> float:
    """Decode images, hash their pixels, encode them as the service does, and hash the result.

    Returns the CPU time taken.
    """
    began = time.process_time()
    for path in paths:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            pixels = image.convert("RGB")
        hashlib.sha256(pixels.tobytes()).digest()
        out = io.BytesIO()
        pixels.save(out, "WEBP", lossless=True, quality=20, method=1)
        hashlib.sha256(out.getvalue()).digest()
    return time.process_time() - began


# Small photograph-like JPEGs in folders named after their classes.


CLASSES = 10

QUALITY = 90

GRAIN = 4.0  # levels: the standard deviation of a sensor's noise


def write_jpegs(folder: Path, count: int, side: int) -> Sequence[Path]:
    """Write different JPEGs of `side` x `side` pixels, always the same ones; return their paths."""
    chance = np.random.default_rng(0)
    paths = []
    for number in range(count):
        path = folder / f"class {number % CLASSES}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_jpeg(chance, side))
        paths.append(path)
    return paths


def _jpeg(chance: np.random.Generator, side: int) -> bytes:
    """Return a picture of soft shapes in random colours and light, with a sensor's noise."""
    light, contrast = chance.uniform(60, 196, 3), chance.uniform(0.2, 0.9)
    coarse = light + contrast * chance.uniform(-128, 128, (9, 9, 3))
    smooth = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    grained = np.asarray(smooth) + chance.normal(0, GRAIN, (side, side, 3))
    out = io.BytesIO()
    Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def pack_zip(folder: Path, paths: Sequence[Path], archive: Path) -> None:
    """Write a zip of files, deflated as by most programs."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in paths:
            packed.write(path, path.relative_to(folder))


def pack_tar(folder: Path, paths: Sequence[Path], archive: Path) -> None:
    """Write a tar of files."""
    with tarfile.open(archive, "w") as packed:
        for path in paths:
            packed.add(path, path.relative_to(folder))


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


# The ways in which images get into a dataset of a served service.


ARCHIVES = {"zip": pack_zip, "tar": pack_tar}

WAYS = (*ARCHIVES, "multipart")

WINDOWS = 10  # in which files are sent; an archive is sent as one

WORKING = frozenset({"server", "worker", "decoder"})  # processes that images pass through

Send = Callable[[Client], object]

SendMeasured = Callable[[], tuple[Taken, MemorySamples]]


def windows_of(way: str, paths: Sequence[Path]) -> list[Sequence[Path]]:
    """Return the images that are sent together, in order."""
    size = len(paths) if way in ARCHIVES else max(1, math.ceil(len(paths) / WINDOWS))
    return [paths[start : start + size] for start in range(0, len(paths), size)]


@contextmanager
def receiving(
    way: str, folder: Path, windows: Sequence[Sequence[Path]]
) -> Iterator[list[SendMeasured]]:
    """Run a new service; yield what sends each window to it and measures that.

    Raises RuntimeError if an image of a window is missing at the end.
    """
    with tempfile.TemporaryDirectory(prefix="perennial-ingest-") as scratch:
        home, archives = Path(scratch) / "home", Path(scratch)
        first = [prepared(one, folder, windows[0][:1], archives / "first") for one in WAYS[1:]]
        sends = [
            prepared(way, folder, window, archives / f"{number}")
            for number, window in enumerate(windows)
        ]
        with running_service(home) as service, service.client() as client:
            client.datasets.create(DATASET)
            for send in first:  # so that decoders run, and the worker has loaded what it needs
                send(client)
            yield [partial(_measured, service, client, send) for send in sends]
            sent, present = sum(map(len, windows)), client.datasets.get(DATASET)["images"]
    if present != sent:
        raise RuntimeError(f"the dataset has {present} of {sent} images")


def _measured(service: Service, client: Client, send: Send) -> tuple[Taken, MemorySamples]:
    worked, began = cpu_seconds(service.pid, WORKING), time.perf_counter()
    with sampled_memory(service.pid) as samples:
        send(client)
        seconds = time.perf_counter() - began
    return Taken(seconds=seconds, cpu=cpu_seconds(service.pid, WORKING) - worked), samples


def prepared(way: str, folder: Path, paths: Sequence[Path], archive: Path) -> Send:
    """Return what sends images and waits until they are in the dataset; packs archives now."""
    if way not in ARCHIVES:
        return lambda client: client.datasets.upload(DATASET, [(p.parent.name, p) for p in paths])
    ARCHIVES[way](folder, paths, archive)

    def send(client: Client) -> None:
        job = client.datasets.import_images(DATASET, archive)
        client.jobs.wait(job["id"], every=0.5)

    return send


# Measure how fast images get into a dataset: `make bench-ingest`.
#
# Small JPEGs are sent to a served service as one zip, as one tar and as multipart uploads of the
# Python client. The baseline is a bare loop that decodes, re-encodes and hashes the same files in
# as many processes as the service decodes with. Both take turns, since a machine's speed changes
# with time: uploads are sent in windows, an archive as one, and the bare loop takes half of a
# window's images before the service and half after it. A ratio is the bare loop's seconds divided
# by the service's, 1 is as fast, and the median over windows; on a busy machine that of the CPU
# times is the more reliable one. CPU times are those of the processes that images pass through.
# Memory is that of the process that imports: the worker for archives, the server for uploads,
# after 10, 50 and 100 % of the time.
#
# A second table counts the resumable uploads that were cut at a random byte and resumed to the same
# digest.
#
#     python -m benchmarks.ingest --images 1500 --side 224
#     python -m benchmarks.ingest --images 200 --ways --cuts 50


PROCESSES = 2  # that decode, in the server and in the worker

MEGABYTE = 1e6

SHARES = (0.1, 0.5, 1.0)


def measure(way: str, folder: Path, paths: Sequence[Path]) -> dict[str, Any]:
    """Let the bare loop and the service take turns; return the row of the table."""
    chunks = windows_of(way, paths)
    windows, memory = [], MemorySamples()
    with bare_loop(PROCESSES, paths[0]) as bare, receiving(way, folder, chunks) as sends:
        for chunk, send in zip(chunks, sends, strict=True):
            before = bare(chunk[: len(chunk) // 2])
            service, samples = send()
            after = bare(chunk[len(chunk) // 2 :])
            windows.append(Window(images=len(chunk), service=service, bare=before + after))
            memory.taken.extend(samples.taken)
    importer = "worker" if way in ARCHIVES else "server"
    return {
        "sent as": way,
        **compared(windows),
        **{f"MB at {share:.0%}": memory.at(share, importer) / MEGABYTE for share in SHARES},
        **{f"peak MB {name}": memory.peaks()[name] / MEGABYTE for name in ("server", "worker")},
    }


def main() -> None:
    """Measure each way, cut uploads, and publish both tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ingest", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--images", type=int, default=10_000, help="how many are sent")
    parser.add_argument("--side", type=int, default=224, help="their width and height in pixels")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--cuts", type=int, default=50, help="how many uploads are cut")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="perennial-jpegs-") as folder:
        paths = write_jpegs(Path(folder), given.images, given.side)
        size = sum(path.stat().st_size for path in paths)
        rows = [measure(way, Path(folder), paths) for way in given.ways]
        cut = [cut_uploads(Path(folder), paths, given.cuts)] if given.cuts else []
    facts = vars(given) | {"jpeg_bytes": size, "processes": PROCESSES}
    for name, table in (("ingest", rows), ("ingest_cuts", cut)):
        if table:
            publish(name, table, **facts)


if __name__ == "__main__":
    main()
