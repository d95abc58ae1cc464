"""SIGKILL of the worker that runs a job, and what the job has brought once it has ended.

An import of an archive brings all of it or nothing yet, an export a file that is always the same or
none, and an import of a bundle a whole version or none.
"""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import count
from random import Random
from time import sleep
from typing import Any, ClassVar, Protocol

from core.jobs.rules import JobStatus
from core.values import Digest, JobId, sha256
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL, Blow
from tests.nightly.faults.stage import Stage, now, until
from tests.nightly.faults.tries import Try
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture
from tests.support.bundles import unpacked

EXPORTS = f"/v1/models/{line.MODEL}/versions/1/exports"

EXPORT = f"{EXPORTS}/open_clip"

IMAGES = 40

FILES = {f"shape {n % 3}/{n}.png": picture(700 + n, side=64) for n in range(IMAGES)}

ARCHIVE = zipped(FILES)

COPY = "copy"  # a model with the same root, as it would be on another service

VERSIONS = f"/v1/models/{COPY}/versions"

Draft = dict[str, tuple[list[str], str | None]]  # by pixels


class RepeatedJob(Protocol):
    """A job that may be ordered again and again, and that always brings the same."""

    points: Mapping[str, object]  # what it has brought at each named point

    def order(self) -> JobId:
        """Order the job, when nothing is left of what it brought before."""

    def brought(self) -> object:
        """Return what the job has brought by now."""

    def result(self) -> object:
        """Return all that the job has brought in the end, every byte read."""


def exports(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the worker of one export after another, each ordered once the last was deleted."""
    stage.ready()
    yield from _run(stage, _Export(stage), tries, moments)


def imports(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the worker of one import after another, each into a dataset of its own."""
    stage.ready()
    yield from _run(stage, _Import(stage), tries, moments)


def version_imports(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the worker of one import after another, each once the last version was deleted."""
    stage.ready()
    imported = _VersionImport(stage, _bundle(stage))
    _make_copy(stage)
    yield from _run(stage, imported, tries, moments)
    imported.delete_versions()


def _run(stage: Stage, job: RepeatedJob, tries: int, moments: Random) -> Iterator[Try]:
    """By turns at a named point and at a random moment, after a job that nothing disturbs."""
    began = now()
    stage.wait_for_end(job.order())
    lasts_s, wanted = now() - began, job.result()
    points = list(job.points)
    for number in range(tries):
        stage.ready()
        turn, at_random = divmod(number, 2)
        point = None if at_random else points[turn % len(points)]
        yield _strike(stage, job, point, lasts_s * moments.random(), wanted)


def _strike(
    stage: Stage, job: RepeatedJob, point: str | None, delay_s: float, wanted: object
) -> Try:
    trouble = ""
    if point is not None:
        stage.points.arm(point, Blow(signal=KILL, whole=True))
    ordered = job.order()
    if point is None:
        sleep(delay_s)
        struck = now()
        if holder := stage.holder(ordered):
            stage.kill(*holder)
    else:
        struck = until(lambda: stage.points.struck_at(point))
        stage.wait_for_api()
        if (brought := job.brought()) != job.points[point]:
            trouble = f"it had brought {brought}"
    ended = stage.wait_for_end(ordered)
    stage.wait_for_api()
    result = job.result()
    good = ended.status is JobStatus.SUCCEEDED
    if not good or result != wanted:
        trouble = trouble or f"{ended.status}, {ended.error}, {result}"[:500]
    return Try(
        what=f"worker at {point or f'{delay_s:.2f} s'}",
        trouble=trouble,
        lost=0 if good else 1,
        duplicated=line.kinds(stage.platform, ended).count("done") - 1,
        equal=result == wanted,
        recovery_s=stage.claimed_after(ordered, struck),
    )


class _Export:
    points: ClassVar = {"export.before": False, "export.after": True}  # whether it is there

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def order(self) -> JobId:
        self._stage.client.delete(EXPORT)
        return self._stage.accepted(EXPORTS, json={"format": "open_clip"})

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
        self._job = self._stage.accepted(
            f"/v1/datasets/{self._dataset}/imports",
            content=ARCHIVE,
            headers={"Content-Type": "application/zip"},
        )
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


class _VersionImport:
    # Versions: the root alone before the commit.
    points: ClassVar = {"put-bundled.after": 1, "version.before": 1, "version.after": 2}

    def __init__(self, stage: Stage, bundle: bytes) -> None:
        self._stage = stage
        self._bundle = bundle

    def order(self) -> JobId:
        self.delete_versions()
        return self._stage.accepted(
            f"/v1/models/{COPY}/imports",
            content=self._bundle,
            headers={"Content-Type": "application/x-tar"},
        )

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
    stage.wait_for_end(stage.accepted(exports, json={"format": "bundle"}))
    return stage.client.get(f"{exports}/bundle/download").raise_for_status().content


def _make_copy(stage: Stage) -> None:
    body = line.model_body(stage.settings.home / "base") | {"name": COPY}
    answer = stage.client.post("/v1/models", json=body)
    if answer.status_code == 202:
        stage.wait_for_end(JobId(answer.json()["id"]))
