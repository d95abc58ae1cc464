"""When the bytes of a file are read again to verify them."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.artifacts import checks as verified_files
from core.artifacts.checks import SETTLED_S, VERIFIED_FOR_S, VerifiedFiles
from core.errors import ArtifactCorrupt
from core.values import sha256

DATA = b"some bytes"

DIGEST = sha256(DATA)


class Clock:
    """A clock that is moved by hand; the file was written long before."""

    def __init__(self) -> None:
        self.now = time.time() + 10 * SETTLED_S

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "bytes"
    found.write_bytes(DATA)
    return found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    paths: list[Path] = []
    real = verified_files.read_verified

    def noting(path: Path, *rest: Any) -> Iterator[bytes]:
        paths.append(path)
        return real(path, *rest)

    monkeypatch.setattr(verified_files, "read_verified", noting)
    return paths


def test_a_file_is_read_once_an_hour_unless_it_was_just_written(
    path: Path, read: list[Path]
) -> None:
    clock = Clock()
    files = VerifiedFiles(clock)
    for _ in range(3):
        files.verify(path, DIGEST)
    assert len(read) == 1
    clock.now += VERIFIED_FOR_S
    files.verify(path, DIGEST)
    assert len(read) == 2
    just_written = VerifiedFiles()
    for _ in range(2):
        just_written.verify(path, DIGEST)
    assert len(read) == 4


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_written_since_is_read(path: Path, replaced: bool) -> None:
    files = VerifiedFiles(Clock())
    files.verify(path, DIGEST)
    damaged, before = b"some bytez", path.stat()
    if replaced:
        other = path.with_name("other")
        other.write_bytes(damaged)
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(path)
    else:
        path.write_bytes(damaged)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(2):
        with pytest.raises(ArtifactCorrupt):
            files.verify(path, DIGEST)
