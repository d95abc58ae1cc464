"""SIGKILL of a worker that exports a version: its file is whole and always the same, or missing."""

import hashlib
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

EXPORTS = f"/v1/models/{line.MODEL}/versions/1/exports"
EXPORT = f"{EXPORTS}/open_clip"
# Whether the export is there at each point: not before the commit.
POINTS = {"export.before": False, "export.after": True}


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns at a named point and at a random moment, after an export that nothing disturbs."""
    stage.ready()
    began = now()
    job = _order(stage)
    stage.wait_for_end(job)
    lasts_s, wanted = now() - began, _file(stage)
    points = list(POINTS)
    for number in range(tries):
        stage.ready()
        stage.client.delete(EXPORT)
        turn, at_random = divmod(number, 2)
        point = None if at_random else points[turn % len(points)]
        yield _strike(stage, point, lasts_s * moments.random(), wanted)


def _strike(stage: Stage, point: str | None, delay_s: float, wanted: str) -> Try:
    trouble = ""
    if point is not None:
        stage.points.arm(point, Blow(signal=KILL, whole=True))
    job = _order(stage)
    if point is None:
        sleep(delay_s)
        struck = now()
        if holder := stage.holder(job):
            for process in reversed(holder):
                process.kill()
    else:
        struck = until(lambda: stage.points.struck_at(point))
        stage.wait_for_api()
        there = stage.client.get(EXPORT).status_code == 200
        trouble = "" if there is POINTS[point] else f"the export was there: {there}"
    ended = stage.wait_for_end(job)
    good = ended.status is JobStatus.SUCCEEDED
    left = [*(stage.settings.home / "exporting").glob("*/*")]
    if left or not good:
        trouble = trouble or f"{ended.status}, {ended.error}, left: {left}"
    return Try(
        what=f"worker at {point or f'{delay_s:.2f} s'}",
        trouble=trouble,
        lost=0 if good else 1,
        duplicated=line.kinds(stage.platform, ended).count("done") - 1,
        equal=_file(stage) == wanted,
        recovery_s=stage.claimed_after(job, struck),
    )


def _order(stage: Stage) -> JobId:
    answer = stage.client.post(EXPORTS, json={"format": "open_clip"})
    assert answer.status_code == 202, answer.text
    return JobId(answer.json()["id"])


def _file(stage: Stage) -> str:
    """The digest of the file, as downloaded; it is the one that the service says."""
    stage.wait_for_api()
    shown: Any = stage.client.get(EXPORT)
    if shown.status_code != 200:
        return str(shown.text)
    answer = stage.client.get(f"{EXPORT}/download")
    digest = hashlib.sha256(answer.content).hexdigest()
    return digest if digest == shown.json()["artifact"] else f"{digest}, not as shown"
