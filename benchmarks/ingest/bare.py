"""A bare loop that decodes, re-encodes and hashes images: the least that must be done to them."""

import hashlib
import io
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from benchmarks.ingest.taken import Taken

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
