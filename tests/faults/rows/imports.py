"""SIGKILL of a worker that imports an archive: the draft has all of it once, or nothing yet."""

from collections.abc import Iterator
from random import Random
from time import sleep
from typing import Any

from core.domain.jobs.job import JobStatus
from core.domain.values import JobId
from tests.faults import line
from tests.faults.points import KILL, Blow
from tests.faults.stage import Stage, now, until
from tests.faults.tries import Try
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture

IMAGES = 40
ARCHIVE = zipped({f"shape {n % 3}/{n}.png": picture(700 + n, side=64) for n in range(IMAGES)})
# What the draft holds at each point: nothing before the commit.
POINTS = {
    "put-imported.after": 0,
    "import.before": 0,
    "put-file-report.after": 0,
    "import.after": IMAGES,
}
Draft = dict[str, tuple[list[str], str | None]]  # by pixels


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns at a named point and at a random moment, after an import that nothing disturbs."""
    stage.ready()
    began = now()
    wanted, told = _ended(stage, *_order(stage, "undisturbed"))
    lasts_s = now() - began
    points = list(POINTS)
    for number in range(tries):
        stage.ready()
        turn, at_random = divmod(number, 2)
        point = None if at_random else points[turn % len(points)]
        yield _strike(stage, f"struck-{number}", point, lasts_s * moments.random(), wanted, told)


def _strike(
    stage: Stage, name: str, point: str | None, delay_s: float, wanted: Draft, told: list[str]
) -> Try:
    trouble = ""
    if point is not None:
        stage.points.arm(point, Blow(signal=KILL, whole=True))
    dataset, job = _order(stage, name)
    if point is None:
        sleep(delay_s)
        struck = now()
        if holder := stage.holder(job):
            for process in reversed(holder):
                process.kill()
    else:
        struck = until(lambda: stage.points.struck_at(point))
        held = len(_draft(stage, dataset))
        trouble = "" if held == POINTS[point] else f"the draft held {held} images"
    draft, report = _ended(stage, dataset, job)
    ended = stage.find(job)
    good = ended.status is JobStatus.SUCCEEDED
    if report != told:
        trouble = trouble or f"{ended.status}, {ended.error}, reported: {report[:3]}"
    return Try(
        what=f"worker at {point or f'{delay_s:.2f} s'}",
        trouble=trouble,
        lost=0 if good else 1,
        duplicated=line.kinds(stage.platform, ended).count("done") - 1,
        equal=draft == wanted,
        recovery_s=stage.claimed_after(job, struck),
    )


def _order(stage: Stage, name: str) -> tuple[str, JobId]:
    """A new dataset, and the import of the archive into it."""
    dataset = f"{name}-{now():.0f}"
    assert stage.client.post("/v1/datasets", json={"name": dataset}).status_code == 201
    answer = stage.client.post(
        f"/v1/datasets/{dataset}/imports",
        content=ARCHIVE,
        headers={"Content-Type": "application/zip"},
    )
    assert answer.status_code == 202, answer.text
    return dataset, JobId(answer.json()["id"])


def _ended(stage: Stage, dataset: str, job: JobId) -> tuple[Draft, list[str]]:
    """The draft and the outcomes of the report, once the import has ended."""
    stage.wait_for_end(job)
    stage.wait_for_api()
    report = stage.client.get(f"/v1/jobs/{job}/report", headers={"Accept": "text/csv"})
    return _draft(stage, dataset), report.text.splitlines()


def _draft(stage: Stage, dataset: str) -> Draft:
    stage.wait_for_api()
    answer: Any = stage.client.get(f"/v1/datasets/{dataset}/images?limit=200").json()
    return {one["pixels"]: (one["texts"], one["near_duplicate_of"]) for one in answer["data"]}
