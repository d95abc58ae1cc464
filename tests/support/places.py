"""Paths of the repository."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]


def is_ignored(name: str) -> bool:
    """Return whether .gitignore names a path in the repository, or a folder that it is in.

    Git itself may be missing. A line without a slash matches names at any depth, one that begins
    with a slash a path; the file has no others.
    """
    parts = name.split("/")
    above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    lines = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    for pattern in (line.rstrip("/") for line in lines if line and not line.startswith("#")):
        matched = (path.rpartition("/")[2] for path in above) if pattern[0] != "/" else above
        if any(fnmatch(each, pattern.removeprefix("/")) for each in matched):
            return True
    return False


def sources(folder: str = ".") -> Iterator[str]:
    """Yield the files of the repository, or of a folder in it, that git does not ignore."""
    for place, folders, files in os.walk(ROOT / folder):
        here = Path(place).relative_to(ROOT)
        folders[:] = [
            name for name in folders if name != ".git" and not is_ignored((here / name).as_posix())
        ]
        names = ((here / name).as_posix() for name in files)
        yield from (name for name in names if not is_ignored(name))
