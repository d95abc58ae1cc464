"""Versions and exports as tar files."""

import io
import tarfile
from pathlib import Path

import pytest

from core.bundles.write import store_tar
from core.exports.folders import write_tar
from core.registry.versions import TensorEntry, Weights
from tests.support.factories import a_job, a_model, a_policy, a_version
from tests.support.memory_artifacts import MemoryArtifacts

HUGE = 9 * 1024**3  # bytes


def test_size_of_a_huge_version_fits_its_header() -> None:
    """An old header counts up to 8 GiB."""
    artifacts, out = MemoryArtifacts(), io.BytesIO()
    entry = TensorEntry(
        name="visual.proj",
        dtype="F32",
        shape=(HUGE // 4,),
        digest=artifacts.put(b"all that this test has of it"),
        size=HUGE,
    )
    weights = Weights(config={}, tensors=(entry,))
    artifacts.put(weights.to_bytes())
    version = a_version(a_job(a_model(a_policy())), digest=weights.digest)
    with pytest.raises(OSError, match="unexpected end of data"):  # so its header was written
        write_tar(artifacts, version, "demo-1", out)
    out.seek(0)
    with tarfile.open(fileobj=out, mode="r|") as tar:
        tar.next()
        member = tar.next()
    assert member is not None
    assert member.size > HUGE


def test_a_tar_tells_of_its_bytes_as_it_is_written_and_as_it_is_stored(tmp_path: Path) -> None:
    artifacts, moved = MemoryArtifacts(), list[int]()
    (tmp_path / "b").write_bytes(b"1" * 100_000)
    (tmp_path / "a").write_bytes(b"2")
    digest, size = store_tar(artifacts, tmp_path, "demo-1", moved.append)
    data = artifacts.get(digest)
    assert (len(data), sum(moved)) == (size, 2 * size)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["demo-1/a", "demo-1/b"]
