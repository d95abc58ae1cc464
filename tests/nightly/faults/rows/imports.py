"""SIGKILL of a worker that imports an archive: the draft has all of it once, or nothing yet."""

from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any, ClassVar

from core.values import JobId
from tests.nightly.faults.rows import killed_worker
from tests.nightly.faults.stage import Stage, now
from tests.nightly.faults.tries import Try
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture

IMAGES = 40

FILES = {f"shape {n % 3}/{n}.png": picture(700 + n, side=64) for n in range(IMAGES)}

ARCHIVE = zipped(FILES)

Draft = dict[str, tuple[list[str], str | None]]  # by pixels


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the worker of one import after another, each into a dataset of its own."""
    stage.ready()
    yield from killed_worker.run(stage, _Import(stage), tries, moments)


class _Import:
    points: ClassVar = {  # images in the draft: none before the commit
        "put-imported.after": 0,
        "import.before": 0,
        "put-file-report.after": 0,
        "import.after": IMAGES,
    }

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._names = (f"struck-{number}-{now():.0f}" for number in count())
        self._dataset: str
        self._job: JobId

    def order(self) -> JobId:
        self._dataset = new_dataset(self._stage, next(self._names))
        answer = self._stage.client.post(
            f"/v1/datasets/{self._dataset}/imports",
            content=ARCHIVE,
            headers={"Content-Type": "application/zip"},
        )
        assert answer.status_code == 202, answer.text
        self._job = JobId(answer.json()["id"])
        return self._job

    def brought(self) -> int:
        return len(draft_of(self._stage, self._dataset))

    def result(self) -> tuple[list[str], Draft]:
        """The outcomes of the report and the draft."""
        answer = self._stage.client.get(
            f"/v1/jobs/{self._job}/report", headers={"Accept": "text/csv"}
        )
        return answer.text.splitlines(), draft_of(self._stage, self._dataset)


def new_dataset(stage: Stage, name: str) -> str:
    """Make an empty dataset; its name."""
    assert stage.client.post("/v1/datasets", json={"name": name}).status_code == 201
    return name


def draft_of(stage: Stage, dataset: str) -> Draft:
    """The images that a dataset holds, with their classes."""
    answer: Any = stage.client.get(f"/v1/datasets/{dataset}/images?limit=200").json()
    return {one["pixels"]: (one["texts"], one["near_duplicate_of"]) for one in answer["data"]}
