"""The bytes of a file are verified again once it was written."""

import os
import time
from pathlib import Path

import pytest

from core.artifacts.checks import SETTLED_S, VerifiedFiles
from core.errors import ArtifactCorrupt
from core.values import sha256

DATA = b"some bytes"

DIGEST = sha256(DATA)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "bytes"
    found.write_bytes(DATA)
    return found


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_written_since_is_read(path: Path, replaced: bool) -> None:
    settled = time.time() + 10 * SETTLED_S
    files = VerifiedFiles(lambda: settled)
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
