"""SIGKILL of a worker that imports a bundle: there is no version of it yet, or the whole one."""

from collections.abc import Iterator
from random import Random
from typing import Any, ClassVar

from core.values import Digest, JobId, sha256
from tests.nightly.faults import line
from tests.nightly.faults.rows import killed_worker
from tests.nightly.faults.stage import Stage
from tests.nightly.faults.tries import Try
from tests.support.bundles import unpacked

COPY = "copy"  # a model with the same root, as it would be on another service

VERSIONS = f"/v1/models/{COPY}/versions"


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the worker of one import after another, each once the last version was deleted."""
    stage.ready()
    imported = _Import(stage, _bundle(stage))
    _make_copy(stage)
    yield from killed_worker.run(stage, imported, tries, moments)
    imported.delete_versions()


class _Import:
    # Versions: the root alone before the commit.
    points: ClassVar = {"put-bundled.after": 1, "version.before": 1, "version.after": 2}

    def __init__(self, stage: Stage, bundle: bytes) -> None:
        self._stage = stage
        self._bundle = bundle

    def order(self) -> JobId:
        self.delete_versions()
        answer = self._stage.client.post(
            f"/v1/models/{COPY}/imports",
            content=self._bundle,
            headers={"Content-Type": "application/x-tar"},
        )
        assert answer.status_code == 202, answer.text
        return JobId(answer.json()["id"])

    def brought(self) -> int:
        return len(self._versions())

    def result(self) -> tuple[int, Digest]:
        """Return the number of versions and the weights of the newest, each tensor verified."""
        versions = self._versions()
        number = versions[-1]["version"]
        answer = self._stage.client.get(f"{VERSIONS}/{number}/download").raise_for_status()
        return len(versions), sha256(unpacked(answer.content)["open_clip_model.safetensors"])

    def delete_versions(self) -> None:
        """Delete all but the root."""
        for version in self._versions()[1:]:
            self._stage.client.delete(f"{VERSIONS}/{version['version']}").raise_for_status()

    def _versions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._stage.client.get(VERSIONS).json()["data"]
        return found


def _bundle(stage: Stage) -> bytes:
    """The bundle of a version that an update has just made: the next `ready` forgets its bytes."""
    version = stage.wait_for_end(stage.order()).version
    exports = f"/v1/models/{line.MODEL}/versions/{version}/exports"
    answer = stage.client.post(exports, json={"format": "bundle"})
    assert answer.status_code == 202, answer.text
    stage.wait_for_end(JobId(answer.json()["id"]))
    return stage.client.get(f"{exports}/bundle/download").raise_for_status().content


def _make_copy(stage: Stage) -> None:
    body = line.model_body(stage.settings.home / "base") | {"name": COPY}
    answer = stage.client.post("/v1/models", json=body)
    if answer.status_code == 202:
        stage.wait_for_end(JobId(answer.json()["id"]))
