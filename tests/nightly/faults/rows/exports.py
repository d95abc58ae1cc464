"""SIGKILL of a worker that exports a version: its file is whole and always the same, or missing."""

import hashlib
from collections.abc import Iterator
from random import Random
from typing import Any, ClassVar

from core.values import JobId
from tests.nightly.faults import line
from tests.nightly.faults.rows import killed_worker
from tests.nightly.faults.stage import Stage
from tests.nightly.faults.tries import Try

EXPORTS = f"/v1/models/{line.MODEL}/versions/1/exports"

EXPORT = f"{EXPORTS}/open_clip"


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the worker of one export after another, each ordered once the last was deleted."""
    stage.ready()
    yield from killed_worker.run(stage, _Export(stage), tries, moments)


class _Export:
    points: ClassVar = {"export.before": False, "export.after": True}  # whether it is there

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def order(self) -> JobId:
        self._stage.client.delete(EXPORT)
        answer = self._stage.client.post(EXPORTS, json={"format": "open_clip"})
        assert answer.status_code == 202, answer.text
        return JobId(answer.json()["id"])

    def brought(self) -> bool:
        return self._stage.client.get(EXPORT).status_code == 200

    def result(self) -> str:
        """The digest of the file, as downloaded; it is the one that the service says."""
        assert not [*(self._stage.settings.home / "exporting").glob("*/*")]
        shown: Any = self._stage.client.get(EXPORT)
        if shown.status_code != 200:
            return str(shown.text)
        answer = self._stage.client.get(f"{EXPORT}/download")
        digest = hashlib.sha256(answer.content).hexdigest()
        return digest if digest == shown.json()["artifact"] else f"{digest}, not as shown"
