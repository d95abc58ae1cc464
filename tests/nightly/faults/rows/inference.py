"""Replicas killed under load, a trial whose candidate is gone, labels sent to a killed API."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from threading import Event
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from core.registry.aliases import PRODUCTION
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL
from tests.nightly.faults.stage import START_S, Program, Stage, now, until
from tests.nightly.faults.tries import Try
from tests.support.api.image_files import picture
from tests.support.processes import kill, wait_for, wait_for_exit

CLIENTS = 4
LOAD_S = 1.5  # before and after the kill
CLASSES = json.dumps(["circle", "square"])


def replica_at(stage: Stage, url: str) -> "subprocess.Popen[bytes]":
    """The process of inference that runs always at a URL, once it answers."""
    environment = {"PERENNIAL_INFERENCE_PORT": str(urlsplit(url).port)}
    program = stage.run_also(Program(command=("worker.inference",), environment=environment))

    def answering() -> "subprocess.Popen[bytes] | None":
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/healthz", trust_env=False).is_success:
                return program.process
        return None

    return wait_for(answering, seconds=START_S)


@dataclass
class Load:
    """The answers to clients that ask without a pause."""

    statuses: list[tuple[float, int]] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    ended: Event = field(default_factory=Event)

    def ask(self, stage: Stage) -> None:
        """Classify until the end."""
        files = [("images", ("a.png", picture(7, side=64)))]
        path = f"/v1/models/{line.MODEL}/classify"
        with stage.new_client() as client:
            while not self.ended.is_set():
                answer = client.post(path, files=files, data={"classes": CLASSES})
                self.statuses.append((now(), answer.status_code))
                if answer.is_success:
                    self.digests.add(answer.json()["digest"])


def kill_replicas(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the replicas by turns, and start each again."""
    stage.ready()
    urls = stage.settings.inference_replicas
    for url in urls:
        replica_at(stage, url)
    for number in range(tries):
        victim, load = urls[number % len(urls)], Load()
        with ThreadPoolExecutor(CLIENTS) as pool:
            asking = [pool.submit(load.ask, stage) for _ in range(CLIENTS)]
            try:
                sleep(LOAD_S + 0.2 * moments.random())
                kill(replica_at(stage, victim))
                struck = now()
                sleep(LOAD_S)
                replica_at(stage, victim)
                sleep(LOAD_S)
            finally:
                load.ended.set()
        for client in asking:
            client.result()
        yield _judged(stage, load, struck, victim)


def _judged(stage: Stage, load: Load, struck: float, victim: str) -> Try:
    failed = [status for _, status in load.statuses if status != 200]
    after = [at for at, _ in load.statuses if at > struck]
    live = stage.client.get(f"/v1/models/{line.MODEL}/aliases/production").json()["version"]
    wanted = stage.client.get(f"/v1/models/{line.MODEL}/versions/{live}").json()["digest"]
    trouble = f"{len(failed)} of {len(load.statuses)} were answered with {set(failed)}"
    return Try(
        what=f"{victim}, {len(load.statuses)} requests",
        trouble=trouble if failed else "",
        lost=len(failed),
        equal=load.digests == {wanted},
        recovery_s=min(after) - struck if after else None,
    )


ALIAS = f"/v1/models/{line.MODEL}/aliases/{PRODUCTION}"

CANDIDATE = "the candidate's weights are gone, inference killed"

STRIKES = ("label.after", CANDIDATE, "label.before")

IMAGES = 6


def trials(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns: the candidate fails, or the API is killed around the commit of labels."""
    if not stage.is_embedded:
        replica_at(stage, stage.settings.inference_replicas[0])
    for number in range(tries):
        stage.ready()
        ended = stage.wait_for_end(stage.order())
        line.go_back_to_root(stage.platform)
        body = {"version": ended.version, "mode": "shadow"}
        started = stage.client.post(f"{ALIAS}/trials", json=body, headers={"If-Match": "*"})
        assert started.status_code == 201, started.text
        images = [picture(moments.randrange(1 << 20)) for _ in range(IMAGES)]
        until(lambda images=images: stage.classify(images[:1]))
        strike = STRIKES[number % len(STRIKES)]
        if strike == CANDIDATE:
            yield _fail(stage, images)
        else:
            yield _label(stage, strike, images)


def _label(stage: Stage, point: str, images: list[bytes]) -> Try:
    """Labels are sent again until they are acknowledged: each counts once."""
    before = _settled(stage, 1)["counts"]
    answer = stage.classify(images)
    assert answer is not None
    _settled(stage, before["current"]["answered"] + IMAGES)
    labels = [{"prediction": row["prediction"], "label": "shape 0"} for row in answer["data"]]
    stage.points.arm(point, signal=KILL)
    with suppress(httpx.TransportError):
        stage.client.post("/v1/feedback", json={"labels": labels})
    wait_for_exit(stage.api)
    struck = now()
    stage.mend()
    stage.wait_for_api()
    sent = stage.client.post("/v1/feedback", json={"labels": labels})
    took = now() - struck
    counted = _report(stage)["counts"]["candidate"]["labelled"] - before["candidate"]["labelled"]
    wanted = "repeated" if point.endswith("after") else "counted"
    states = {row["status"] for row in sent.json().get("data", ())}
    return Try(
        what=f"API at {point}",
        trouble="" if states == {wanted} else f"labels sent again: {sent.text[:300]}",
        lost=max(IMAGES - counted, 0),
        duplicated=max(counted - IMAGES, 0),
        recovery_s=took,
    )


def _fail(stage: Stage, images: list[bytes]) -> Try:
    """Once inference is back it knows the live version alone: every answer comes, and says so."""
    before = _settled(stage, 1)["counts"]
    stage.platform.artifacts.delete(stage.undisturbed)
    if stage.is_embedded:
        _kill_embedded_inference(stage)
    else:
        kill(replica_at(stage, stage.settings.inference_replicas[0]))
        stage.mend()
    struck = now()
    until(lambda: stage.classify(images[:1]))
    took = now() - struck
    answers = [stage.classify(images) for _ in range(3)]
    after = _settled(stage, before["current"]["answered"] + 1 + 3 * IMAGES)["counts"]
    failed = after["shadow"]["failed"] - before["shadow"]["failed"]
    answered = after["current"]["answered"] - before["current"]["answered"]
    return Try(
        what=CANDIDATE,
        trouble="" if failed >= 3 * IMAGES else f"{failed} of {answered} counted as failed",
        lost=sum(answer is None or answer["version"] != 1 for answer in answers),
        duplicated=max(answered - 1 - 3 * IMAGES, 0),
        recovery_s=took,
    )


def _kill_embedded_inference(stage: Stage) -> None:
    """The API starts it again."""
    (inference,) = (
        child
        for child in psutil.Process(stage.api.pid).children()
        if "worker.inference" in child.cmdline()
    )
    inference.kill()


def _settled(stage: Stage, least: int) -> Any:
    """The trial with so many answers, once it is known of each what became of the candidate."""

    def settled() -> Any:
        found = _report(stage)
        shadow = found["counts"]["shadow"]
        known = sum(shadow[name] for name in ("agreed", "disagreed", "dropped", "failed"))
        answered = found["counts"]["current"]["answered"]
        return found if known == answered >= least else None

    return until(settled)


def _report(stage: Stage) -> Any:
    return stage.client.get(f"{ALIAS}/trials/latest").json()
