"""The ways in which images get into a dataset of a served service."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.ingest.jpegs import pack_tar, pack_zip
from benchmarks.ingest.taken import Taken
from demo.service import running_service
from devtools.process_memory import MemorySamples, cpu_seconds, sampled_memory
from perennial import Client

DATASET = "photographs"
ARCHIVES = {"zip": pack_zip, "tar": pack_tar}
WAYS = (*ARCHIVES, "multipart")

Send = Callable[[Client], object]


def ingest(way: str, folder: Path, paths: Sequence[Path]) -> tuple[Taken, MemorySamples]:
    """Bring images into a new dataset of a new service. Raises RuntimeError if one is missing."""
    with tempfile.TemporaryDirectory(prefix="perennial-ingest-") as scratch:
        home = Path(scratch) / "home"
        first = [prepared(one, folder, paths[:1], Path(scratch) / "first") for one in WAYS[1:]]
        every = prepared(way, folder, paths, Path(scratch) / "every")
        with running_service(home) as service, service.client() as client:
            client.datasets.create(DATASET)
            for send in first:  # so that decoders run, and the worker has loaded what it needs
                send(client)
            worked, began = cpu_seconds(service.pid), time.perf_counter()
            with sampled_memory(service.pid) as samples:
                every(client)
            seconds = time.perf_counter() - began
            cpu = cpu_seconds(service.pid) - worked
            present = client.datasets.get(DATASET)["images"]
    if present != len(paths):
        raise RuntimeError(f"the dataset has {present} of {len(paths)} images")
    return Taken(seconds=seconds, cpu=cpu), samples


def prepared(way: str, folder: Path, paths: Sequence[Path], archive: Path) -> Send:
    """Return what sends images and waits until they are in the dataset; packs archives now."""
    if way not in ARCHIVES:
        return lambda client: client.datasets.upload(DATASET, [(p.parent.name, p) for p in paths])
    ARCHIVES[way](folder, paths, archive)

    def send(client: Client) -> None:
        job = client.datasets.import_images(DATASET, archive)
        client.jobs.wait(job["id"], every=0.5)

    return send
