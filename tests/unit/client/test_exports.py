"""Exports: ordered, listed, downloaded and deleted."""

import tarfile
import uuid
from pathlib import Path

import pytest

from core.job_types.run import run_next_job
from perennial.errors import ServiceError
from tests.support.api.seeds import a_root
from tests.support.api.served import Served
from tests.support.scene import Script
from tests.support.tools import tools_of


def test_an_export_is_ordered_and_fetched(served: Served, tmp_path: Path) -> None:
    model = a_root(served.platform, f"m-{uuid.uuid4().hex}").name
    exports = served.client.exports
    job = exports.order(model, 1, "onnx", idempotency_key="once")
    assert exports.order(model, 1, "onnx", idempotency_key="once")["id"] == job["id"]
    assert job["export"] == {"version": 1, "format": "onnx"}
    while not served.client.jobs.get(job["id"])["done"]:
        run_next_job(
            served.platform, tools_of(Script(served.platform)), owner="w", stopping=lambda: False
        )
    (export,) = exports.list(model, 1)
    assert export == exports.get(model, 1, "onnx")
    path = exports.download(model, 1, "onnx", to=tmp_path / "onnx.tar")
    assert path.stat().st_size == export["size"]
    with tarfile.open(path) as tar:
        assert f"{model}-1/image.onnx" in tar.getnames()
    exports.delete(model, 1, "onnx")
    with pytest.raises(ServiceError, match="404 export_not_found"):
        exports.get(model, 1, "onnx")
