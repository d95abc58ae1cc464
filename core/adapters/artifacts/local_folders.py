"""The folders of a store: locked and synced while files in them get their names."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby, islice
from pathlib import Path

AT_ONCE = 64  # folders that are locked, each by an open file


def name_files(files: Iterable[tuple[Path, Path]]) -> None:
    """Give whole, synced files their paths durably; each comes with its temporary path.

    The names of a folder are synced together, and those of other folders mostly with them.
    """
    folders = groupby(sorted((path, temporary) for temporary, path in files), _folder_of)
    while some := [(folder, list(named)) for folder, named in islice(folders, AT_ONCE)]:
        with ExitStack() as locks:
            descriptors = []
            for folder, named in some:
                make_folder(folder)
                descriptors.append(locks.enter_context(locked(folder, fcntl.LOCK_SH)))
                for path, temporary in named:
                    os.utime(temporary)  # its age begins now, however long ago it was written
                    temporary.rename(path)
            for descriptor in descriptors:
                os.fsync(descriptor)


def _folder_of(named: tuple[Path, Path]) -> Path:
    return named[0].parent


def make_folder(folder: Path) -> None:
    """Make a folder durably, unless it is there."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with _opened(folder.parent) as descriptor:
            os.fsync(descriptor)


def reset_age(path: Path) -> bool:
    """Set the file's time to now; return False if it has been collected meanwhile."""
    try:
        with locked(path.parent, fcntl.LOCK_SH):
            os.utime(path)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def locked(folder: Path, how: int) -> Iterator[int]:
    """Lock the folder: writers share the lock, a collector holds it exclusively.

    A writer holds it until its rename is durable, a collector while it checks a file's time and
    removes the file.
    """
    with _opened(folder) as descriptor:
        fcntl.flock(descriptor, how)
        yield descriptor


def is_locked(path: Path) -> bool:
    """Return whether somebody holds the lock of a folder or a file."""
    with _opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
