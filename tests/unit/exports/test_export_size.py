"""A version may be larger than the 8 GiB that an old tar header can count."""

import io
import tarfile

import pytest

from core.exports.folders import write_tar
from core.registry.versions import TensorEntry, Weights
from tests.support.factories import a_job, a_model, a_policy, a_version
from tests.support.memory_artifacts import MemoryArtifacts

HUGE = 9 * 1024**3  # bytes


def test_size_of_a_huge_version_fits_its_header() -> None:
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
