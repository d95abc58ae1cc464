"""The ways in which images get into a dataset of a served service."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.ingest.jpegs import pack_tar, pack_zip
from benchmarks.ingest.taken import Taken
from demo.service import Service, running_service
from devtools.process_memory import MemorySamples, cpu_seconds, sampled_memory
from perennial import Client

DATASET = "photographs"
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
