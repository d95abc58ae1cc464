"""Replicas killed under load, a trial whose candidate is gone, labels sent to a killed API."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from random import Random
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from core.registry.aliases import PRODUCTION
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL
from tests.nightly.faults.stage import START_S, Program, Stage, at_once, now, until
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


def kill_replicas(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the replicas by turns while clients ask without a pause, and start each again."""
    stage.ready()
    urls = stage.settings.inference_replicas
    for url in urls:
        replica_at(stage, url)
    image = [("images", ("a.png", picture(7, side=64)))]
    classify = f"/v1/models/{line.MODEL}/classify"
    for number in range(tries):
        victim, answers = urls[number % len(urls)], list[tuple[float, httpx.Response]]()
        with ExitStack() as stack:
            clients = [stack.enter_context(stage.new_client()) for _ in range(CLIENTS)]

            def ask(client: int, clients: Any = clients, answers: Any = answers) -> None:
                answer = clients[client].post(classify, files=image, data={"classes": CLASSES})
                answers.append((now(), answer))

            with at_once(CLIENTS, ask):
                sleep(LOAD_S + 0.2 * moments.random())
                kill(replica_at(stage, victim))
                struck = now()
                sleep(LOAD_S)
                replica_at(stage, victim)
                sleep(LOAD_S)
        failed = [answer.status_code for _, answer in answers if answer.status_code != 200]
        after = [at for at, _ in answers if at > struck]
        live = stage.client.get(ALIAS).json()["version"]
        wanted = stage.client.get(f"/v1/models/{line.MODEL}/versions/{live}").json()["digest"]
        trouble = f"{len(failed)} of {len(answers)} were answered with {set(failed)}"
        yield Try(
            what=f"{victim}, {len(answers)} requests",
            trouble=trouble if failed else "",
            lost=len(failed),
            equal={one.json()["digest"] for _, one in answers if one.is_success} == {wanted},
            recovery_s=min(after) - struck if after else None,
        )


ALIAS = f"/v1/models/{line.MODEL}/aliases/{PRODUCTION}"

CANDIDATE = "the candidate's weights are gone, inference killed"

STRIKES = ("label.after", CANDIDATE, "label.before")

IMAGES = 6


def trials(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns: the candidate fails, or the API is killed around the commit of labels."""
    if not stage.settings.embedded:
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
    if stage.settings.embedded:  # the API starts it again
        children = psutil.Process(stage.api.pid).children()
        (inference,) = [child for child in children if "worker.inference" in child.cmdline()]
        inference.kill()
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
