"""Import collections of many tiny images, and say what each 100,000 of them take.

    python -m benchmarks.collections --rows 100000 1000000 --kinds parquet
    python -m benchmarks.collections --rows 20000 40000 --every 5000 --kinds parquet

Collections of each kind and size are imported, each into a new dataset of a service of its own.
While rows are read, the table has a line whenever so many more are done: seconds since the start,
and the memory of the worker, of which a part stays for each row until the dataset changes. Two more
lines are of the search for near-duplicates and, with the most memory, of the whole import after the
one transaction. Slopes are those of lines of least squares, through what was read of the largest
collection, and through the sizes: what each 100,000 rows more of a collection add. Pixels are
random, of which no coordinate tells much: `benchmarks.near_duplicates` measures the search alone.
"""

import argparse
import io
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.output import publish
from demo.service import Service, running_service
from devtools.process_memory import processes_by_role
from perennial.client import Client

CLASSES = 10
GROUP_ROWS = 1_000  # of a row group of Parquet
POLL_S = 0.2
MEGABYTE = 1e6
SLOPE_ROWS = 100_000
DATASET = "collection"

# Enough for a million rows.
LIMITS = {
    "PERENNIAL_MAX_IMPORT_FILES": "10000000",
    "PERENNIAL_MAX_UNPACKED_BYTES": str(2**40),
    "PERENNIAL_MAX_UPLOAD_BYTES": str(2**40),
    "PERENNIAL_MAX_FILE_BYTES": str(2**28),  # a list of a million lines
}

# Collections on disk.


def images(rows: int, side: int) -> Iterator[tuple[int, bytes]]:
    """Yield the number of a row's class and a PNG of random pixels, always the same ones."""
    chance = np.random.default_rng(0)
    for number in range(rows):
        out = io.BytesIO()
        pixels = chance.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(out, "PNG", compress_level=1)
        yield number % CLASSES, out.getvalue()


def write_parquet(path: Path, rows: int, side: int) -> None:
    """Write rows as `datasets` does: structs of bytes and path, and names of classes."""
    of_image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", of_image), ("label", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        group: list[dict[str, Any]] = []
        for number, (label, data) in enumerate(images(rows, side), start=1):
            image = {"bytes": data, "path": f"{number}.png"}
            group.append({"image": image, "label": f"class {label}"})
            if len(group) == GROUP_ROWS or number == rows:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group.clear()


def write_webdataset(path: Path, rows: int, side: int) -> None:
    """Write a tar of images, each with its class beside it."""
    with tarfile.open(path, "w") as packed:
        for number, (label, data) in enumerate(images(rows, side)):
            _add(packed, f"{number:09}.png", data)
            _add(packed, f"{number:09}.cls", b"class %d" % label)


def write_imagefolder(path: Path, rows: int, side: int) -> None:
    """Write a tar of images and of the table that gives them their classes."""
    lines = ["file_name,label"]
    with tarfile.open(path, "w") as packed:
        for number, (label, data) in enumerate(images(rows, side)):
            _add(packed, f"train/{number:09}.png", data)
            lines.append(f"{number:09}.png,class {label}")
        _add(packed, "train/metadata.csv", "\n".join(lines).encode())


def _add(packed: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    packed.addfile(header, io.BytesIO(data))


KINDS: dict[str, Callable[[Path, int, int], None]] = {
    "parquet": write_parquet,
    "webdataset": write_webdataset,
    "imagefolder": write_imagefolder,
}

# Their imports.


def measure(kind: str, rows: int, side: int, every: int) -> list[dict[str, Any]]:
    """Import a collection of a kind; return the lines of the table."""
    with tempfile.TemporaryDirectory(prefix="perennial-collection-") as scratch:
        path = Path(scratch) / "collection"
        KINDS[kind](path, rows, side)
        size = path.stat().st_size
        with (
            running_service(Path(scratch) / "home", **LIMITS) as service,
            service.client() as client,
        ):
            client.datasets.create(DATASET)
            upload = client.uploads.send(path)
            lines = list(_followed(service, client, upload, rows, every))
            present = client.datasets.get(DATASET)["images"]
    if present != rows:
        raise RuntimeError(f"the dataset has {present} of {rows} images")
    return [{"kind": kind, "MB of file": size / MEGABYTE, **line} for line in lines]


def _followed(
    service: Service, client: Client, upload: str, rows: int, every: int
) -> Iterator[dict[str, Any]]:
    began = time.perf_counter()
    job = client.datasets.import_upload(DATASET, upload)
    told, peak, is_compared = 0, 0, False
    while not job["done"]:
        time.sleep(POLL_S)
        job = client.jobs.get(job["id"])
        seconds, held = time.perf_counter() - began, _worker_bytes(service)
        peak = max(peak, held)
        progress = job["progress"]
        done = rows * progress["step"] // progress["total"] if progress["total"] else 0
        if job["phase"] == "unpacking" and done >= told + every:
            told = done
            yield {"part": "read", "rows": done, "seconds": seconds, "worker MB": held / MEGABYTE}
        if job["phase"] == "recording" and not is_compared:
            is_compared = True
            yield {
                "part": "compared",
                "rows": rows,
                "seconds": seconds,
                "worker MB": held / MEGABYTE,
            }
    if job["status"] != "succeeded":
        raise RuntimeError(f"the import failed: {job['error']}")
    seconds = time.perf_counter() - began
    yield {"part": "whole", "rows": rows, "seconds": seconds, "worker MB": peak / MEGABYTE}


def _worker_bytes(service: Service) -> int:
    workers = processes_by_role(service.pid).get("worker", ())
    return max((psutil.Process(worker).memory_info().rss for worker in workers), default=0)


def with_slopes(table: Sequence[Sequence[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield the lines of all sizes, each with the slopes of its part: the largest size is last."""
    whole = [line for lines in table for line in lines]
    for lines in table:
        for line in lines:
            of_part = table[-1] if line["part"] == "read" else whole
            yield line | _slopes([one for one in of_part if one["part"] == line["part"]])


def _slopes(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return what each 100,000 rows more add; nothing of fewer than two lines."""
    if len(lines) < 2:
        return {}
    done = np.array([line["rows"] for line in lines]) / SLOPE_ROWS
    return {
        f"{name} per 100,000": float(np.polyfit(done, [line[name] for line in lines], 1)[0])
        for name in ("seconds", "worker MB")
    }


def main() -> None:
    """Measure each kind, and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collections")
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 100_000], help="the sizes")
    parser.add_argument("--every", type=int, default=0, help="rows of a line; 0: a tenth of most")
    parser.add_argument("--side", type=int, default=16, help="width and height in pixels")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    given = parser.parse_args()
    sizes = sorted(given.rows)
    every = given.every or max(1, sizes[-1] // 10)
    table = [
        line
        for kind in given.kinds
        for line in with_slopes([measure(kind, rows, given.side, every) for rows in sizes])
    ]
    publish("collections", table, images=sizes, every=every, side=given.side)


if __name__ == "__main__":
    main()
