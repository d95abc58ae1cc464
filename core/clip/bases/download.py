"""Progress reports while the files of a base are downloaded and read."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from huggingface_hub.constants import HF_HUB_CACHE

from core.ports import BytesCallback, Monitor

LOOK_EVERY_S = 1.0
READ_BYTES = 1 << 20
CACHES = (Path(HF_HUB_CACHE), Path("~/.cache/clip").expanduser())  # where open_clip keeps weights

_T = TypeVar("_T")


def read_while_growing(
    read: Callable[[], _T],
    monitor: Monitor,
    *,
    caches: tuple[Path, ...] = CACHES,
    look_every_s: float = LOOK_EVERY_S,
) -> _T:
    """Return what `read` returns; meanwhile, report the bytes that arrive to the monitor.

    Raises what `read` raises. A stalled download reports nothing, so the job's lease expires as
    for any hung worker.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        result: Future[_T] = pool.submit(read)
        before = size_of(caches)
        seen = before
        while not wait([result], timeout=look_every_s).done:
            size = size_of(caches)
            if size > seen:
                seen = size
                monitor.advance("loading", size - before, 0)
        return result.result()


def size_of(folders: tuple[Path, ...]) -> int:
    """Return the size in bytes of all files below the folders; files that vanish count 0."""
    total = 0
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                total += 0 if path.is_symlink() else path.stat().st_size
            except FileNotFoundError:
                continue
    return total


def read_through(path: Path, moved: BytesCallback) -> None:
    """Read a file into the page cache, reporting progress, because loading it reports none."""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(READ_BYTES):
            moved(len(piece))
