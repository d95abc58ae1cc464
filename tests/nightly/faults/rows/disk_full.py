"""The disk is full at each kind of write: 507 or a pause, nothing in part, and then all is well."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from time import sleep

import httpx

from core.jobs.rules import JobStatus
from core.values import JobId
from tests.nightly.faults import line
from tests.nightly.faults.points import fill
from tests.nightly.faults.rows.workers import judge
from tests.nightly.faults.stage import Stage, embedded, now
from tests.nightly.faults.tries import Try, each
from tests.support.api.image_files import picture

SIZE = 96 << 20  # bytes: the embedded service with a minuscule model and its broker

BALLAST = "ballast"

WITHOUT_ROOM_S = 1.0


@contextmanager
def cramped() -> Iterator[Stage]:
    """The embedded service on a disk of its own, database and all."""
    with small_disk(SIZE) as folder, embedded(folder) as stage:
        yield stage


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """A disk of so many bytes, in memory."""
    folder = Path(mkdtemp(prefix="perennial-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "perennial-faults", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode:
        folder.rmdir()
        raise RuntimeError(f"A small disk is mounted for this row: run it as root. {done.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


@each
def run(stage: Stage, number: int, moments: Random) -> Try:
    """Each kind of write in turn."""
    kinds: list[Callable[[], Try]] = [
        lambda: update(stage, "checkpoint"),
        lambda: upload(stage, "image", moments),
        lambda: freeze(stage, moments),
        lambda: upload(stage, "staging", moments),
        lambda: download(stage),
        lambda: row(stage),
        *(partial(update, stage, kind) for kind in ("tensor", "weights", "answers", "report")),
    ]
    return kinds[number % len(kinds)]()


def update(stage: Stage, kind: str) -> Try:
    """A worker finds no room for one of its artifacts: its job is paused and goes on with room."""
    stage.points.arm(f"put-{kind}.before", fill=str(_ballast(stage)))
    job = stage.order()
    stage.struck_at(f"put-{kind}.before")
    sleep(WITHOUT_ROOM_S)  # long enough for the job to be paused, or to be claimed again in vain
    freed = _make_room(stage)
    tried = judge(stage, job, freed, f"{kind}: without room for a while")
    told = line.kinds(stage.platform, stage.find(job))
    # Each claim but the first follows on the job's being given back.
    lost = told.count("claimed") - 1 - told.count("paused") - told.count("released")
    without = freed - stage.points.began_at(f"put-{kind}.before")  # no lease is renewed meanwhile
    unexpected = lost and without < stage.settings.lease_seconds / 2
    trouble = f"{lost} claims were lost: {told}" if unexpected else ""
    return replace(tried, trouble=_partial(stage) or trouble or tried.trouble)


def upload(stage: Stage, kind: str, moments: Random) -> Try:
    """The API finds no room for images: for one of them, or for all it has taken in so far."""
    name = f"{kind}-{moments.randrange(1 << 30)}"
    stage.client.post("/v1/datasets", json={"name": name}).raise_for_status()
    if kind == "image":
        stage.points.arm("put-image.before", fill=str(_ballast(stage)))
        files = [("one", ("one.png", picture(moments.randrange(1000, 1 << 20))))]
    else:
        fill(_ballast(stage))
        with _ballast(stage).open("ab") as ballast:
            ballast.truncate(ballast.tell() - (256 << 10))
        first = moments.randrange(1000, 1 << 20)  # no compression makes them small
        files = [("one", (f"{n}.png", picture(first + n, side=512))) for n in range(24)]

    def send() -> httpx.Response:
        return stage.client.post(f"/v1/datasets/{name}/images", files=files)

    return _refused_then_done(stage, kind, send)


def freeze(stage: Stage, moments: Random) -> Try:
    """The API finds no room for a manifest."""
    name = f"freeze-{moments.randrange(1 << 30)}"
    stage.upload(name, [("one", ("one.png", picture(moments.randrange(1000, 1 << 20))))])
    stage.points.arm("put-manifest.before", fill=str(_ballast(stage)))
    return _refused_then_done(
        stage, "manifest", lambda: stage.client.post(f"/v1/datasets/{name}/versions")
    )


def download(stage: Stage) -> Try:
    """The API finds no room to lay out the files of a version."""
    for path in _exports(stage):
        path.unlink()
    fill(_ballast(stage))
    path = f"/v1/models/{line.MODEL}/versions/1/download"
    return _refused_then_done(stage, "download", lambda: stage.client.get(path))


def row(stage: Stage) -> Try:
    """The database finds no room for rows."""
    fill(_ballast(stage))
    answers: list[httpx.Response] = []
    for number in range(400):  # until its log has used up the room that it holds already
        body = {"name": f"full-{number}-{int(now())}", "base": str(stage.settings.home / "base")}
        answers.append(stage.client.post("/v1/models", json=body))
        if answers[-1].status_code != 202:
            break
    freed = _make_room(stage)
    code = answers[-1].status_code
    trouble = "" if code == 507 else f"answered {code}: {answers[-1].text}"
    for answer in answers[:-1]:
        ended = stage.wait_for_end(JobId(answer.json()["id"]))
        if ended.status is not JobStatus.SUCCEEDED:
            trouble = f"{ended.status}: {ended.error}"
    tried = judge(stage, stage.order(), freed, f"rows: {code} after {len(answers)} orders")
    return replace(tried, trouble=trouble or _partial(stage) or tried.trouble)


def _refused_then_done(stage: Stage, kind: str, send: Callable[[], httpx.Response]) -> Try:
    refused = send()
    trouble = "" if refused.status_code == 507 else f"{refused.status_code}: {refused.text}"
    trouble = trouble or _partial(stage)
    freed = _make_room(stage)
    done = send()
    if done.status_code not in {200, 201}:
        trouble = trouble or f"with room again: {done.status_code}: {done.text}"
    return Try(
        what=f"{kind}: {refused.status_code}, with room again {done.status_code}",
        trouble=trouble or _partial(stage),
        recovery_s=now() - freed,
    )


def _partial(stage: Stage) -> str:
    """Trouble, if a file of the store is not what its name says, or is no artifact at all.

    Or if an export that was begun has been left.
    """
    if prepared := [path.name for path in _exports(stage) if path.suffix != ".tar"]:
        return f"{prepared} are no whole exports"
    for path in stage.settings.artifacts.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != path.parent.name + path.name:
            return f"{path.name}, {len(data)} bytes, is no whole artifact"
    return ""


def _exports(stage: Stage) -> list[Path]:
    folder = stage.settings.home / "exports"
    return list(folder.iterdir()) if folder.exists() else []


def _make_room(stage: Stage) -> float:
    os.truncate(_ballast(stage), 0)
    return now()


def _ballast(stage: Stage) -> Path:
    return stage.settings.home / BALLAST
