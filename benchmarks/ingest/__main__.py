"""Measure how fast images get into a dataset: `make bench-ingest`.

Small JPEGs are sent to a served service as one zip, as one tar and as multipart uploads of the
Python client. The baseline is a bare loop that decodes, re-encodes and hashes the same files in as
many processes as the service decodes with. Both take turns, since a machine's speed changes with
time: uploads are sent in windows, an archive as one, and the bare loop takes half of a window's
images before the service and half after it. A ratio is the bare loop's seconds divided by the
service's, 1 is as fast, and the median over windows; on a busy machine that of the CPU times is
the more reliable one. CPU times are those of the processes that images pass through. Memory is
that of the process that imports: the worker for archives, the server for uploads, after 10, 50 and
100 % of the time.

A second table counts the resumable uploads that were cut at a random byte and resumed to the same
digest.

    python -m benchmarks.ingest --images 1500 --side 224
    python -m benchmarks.ingest --images 200 --ways --cuts 50
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ingest.bare import bare_loop
from benchmarks.ingest.cut_uploads import cut_uploads
from benchmarks.ingest.jpegs import write_jpegs
from benchmarks.ingest.taken import Window, compared
from benchmarks.ingest.ways import ARCHIVES, WAYS, receiving, windows_of
from benchmarks.output import publish
from devtools.process_memory import MemorySamples

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
