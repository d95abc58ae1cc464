"""Folders in which exports are written before they are stored."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.domain.jobs.job import Job
from core.domain.values import JobId
from core.errors import JobNotFound, StorageFull, is_full_disk
from core.ports import Platform


@contextmanager
def scratch_folder(platform: Platform, job: Job) -> Iterator[Path]:
    """Yield an empty folder of this claim of a job, which is deleted at the end.

    What killed workers have left is deleted first: folders of earlier claims, and of jobs that have
    ended. Raises StorageFull when the disk is full.
    """
    root = platform.settings.home / "exporting"
    _tidy(platform, root, job)
    folder = root / f"{job.id}-{job.fence}"
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        if is_full_disk(error):
            raise StorageFull from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tidy(platform: Platform, root: Path, job: Job) -> None:
    left = {path: JobId(path.name.rpartition("-")[0]) for path in root.glob("*-*")}
    with platform.transactions(read_only=True) as work:
        for path, of in left.items():
            try:
                unused = of == job.id or work.jobs.get(of).status.done
            except JobNotFound:
                unused = True
            if unused:
                shutil.rmtree(path, ignore_errors=True)
