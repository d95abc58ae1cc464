"""SIGKILL of a worker that imports a bundle: there is no version of it yet, or the whole one."""

from collections.abc import Iterator
from random import Random
from time import sleep
from typing import Any

from core.domain.jobs.job import JobStatus
from core.domain.values import Digest, JobId, sha256
from tests.faults import line
from tests.faults.points import KILL, Blow
from tests.faults.stage import Stage, now, until
from tests.faults.tries import Try
from tests.support.bundles import unpacked

COPY = "copy"  # a model with the same root, as it would be on another service
VERSIONS = f"/v1/models/{COPY}/versions"
# How many versions there are at each point: the root alone before the commit.
POINTS = {"put-bundled.after": 1, "version.before": 1, "version.after": 2}


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns at a named point and at a random moment, after an import that nothing disturbs."""
    stage.ready()
    bundle = _bundle(stage)
    _make_copy(stage)
    began = now()
    stage.wait_for_end(_order(stage, bundle))
    lasts_s, wanted = now() - began, _newest(stage)
    points = list(POINTS)
    for number in range(tries):
        _delete_versions(stage)
        stage.ready()
        turn, at_random = divmod(number, 2)
        point = None if at_random else points[turn % len(points)]
        yield _strike(stage, bundle, point, lasts_s * moments.random(), wanted)
    _delete_versions(stage)


def _strike(stage: Stage, bundle: bytes, point: str | None, delay_s: float, wanted: Digest) -> Try:
    trouble = ""
    if point is not None:
        stage.points.arm(point, Blow(signal=KILL, whole=True))
    job = _order(stage, bundle)
    if point is None:
        sleep(delay_s)
        struck = now()
        if holder := stage.holder(job):
            for process in reversed(holder):
                process.kill()
    else:
        struck = until(lambda: stage.points.struck_at(point))
        held = len(_versions(stage))
        trouble = "" if held == POINTS[point] else f"there were {held} versions"
    ended = stage.wait_for_end(job)
    good = ended.status is JobStatus.SUCCEEDED
    left = len(_versions(stage))
    if left != 2 or not good:
        trouble = trouble or f"{ended.status}, {ended.error}, {left} versions"
    return Try(
        what=f"worker at {point or f'{delay_s:.2f} s'}",
        trouble=trouble,
        lost=0 if good else 1,
        duplicated=line.kinds(stage.platform, ended).count("done") - 1,
        equal=_newest(stage) == wanted,
        recovery_s=stage.claimed_after(job, struck),
    )


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


def _order(stage: Stage, bundle: bytes) -> JobId:
    answer = stage.client.post(
        f"/v1/models/{COPY}/imports",
        content=bundle,
        headers={"Content-Type": "application/x-tar"},
    )
    assert answer.status_code == 202, answer.text
    return JobId(answer.json()["id"])


def _versions(stage: Stage) -> list[dict[str, Any]]:
    stage.wait_for_api()
    found: list[dict[str, Any]] = stage.client.get(VERSIONS).json()["data"]
    return found


def _newest(stage: Stage) -> Digest:
    """The digest of the newest version's weights, each tensor verified as it is read."""
    number = _versions(stage)[-1]["version"]
    answer = stage.client.get(f"{VERSIONS}/{number}/download").raise_for_status()
    return sha256(unpacked(answer.content)["open_clip_model.safetensors"])


def _delete_versions(stage: Stage) -> None:
    for version in _versions(stage)[1:]:
        stage.client.delete(f"{VERSIONS}/{version['version']}").raise_for_status()
