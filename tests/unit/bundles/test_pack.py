"""Exports as tar files in the store."""

import tarfile
from io import BytesIO
from pathlib import Path

from core.bundles.write import store_tar
from tests.support.memory_artifacts import MemoryArtifacts


def test_a_tar_tells_of_its_bytes_as_it_is_written_and_as_it_is_stored(tmp_path: Path) -> None:
    artifacts, moved = MemoryArtifacts(), list[int]()
    (tmp_path / "b").write_bytes(b"1" * 100_000)
    (tmp_path / "a").write_bytes(b"2")
    digest, size = store_tar(artifacts, tmp_path, "demo-1", moved.append)
    data = artifacts.get(digest)
    assert (len(data), sum(moved)) == (size, 2 * size)
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        assert tar.getnames() == ["demo-1/a", "demo-1/b"]
