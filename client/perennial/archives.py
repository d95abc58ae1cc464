"""Archives to send: files as they are, and folders packed into a tar."""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast


@contextmanager
def opened(source: Path) -> Iterator[BinaryIO]:
    """Open an archive, or pack a folder, with what its links lead to. Raises OSError."""
    if not source.is_dir():
        with source.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
            for path in sorted(source.rglob("*")):
                if path.is_file():
                    archive.add(path, arcname=str(path.relative_to(source)), recursive=False)
        file.seek(0)
        yield cast(BinaryIO, file)
