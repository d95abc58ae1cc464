"""A trial whose candidate cannot be asked any more, and the API killed while labels arrive."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from random import Random
from typing import Any

import httpx
import psutil

from core.registry.aliases import PRODUCTION
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL, Blow
from tests.nightly.faults.rows.replicas import Replica
from tests.nightly.faults.stage import Stage, now, until
from tests.nightly.faults.tries import Try
from tests.support.api.image_files import picture
from tests.support.processes import wait_for_exit

ALIAS = f"/v1/models/{line.MODEL}/aliases/{PRODUCTION}"

CANDIDATE = "the candidate's weights are gone, inference killed"

STRIKES = ("label.after", CANDIDATE, "label.before")

IMAGES = 6


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns: the candidate fails, or the API is killed around the commit of labels."""
    with ExitStack() as stack:
        replica = None
        if not stage.is_embedded:
            stage.ready()
            replica = Replica(stage, stage.settings.inference_replicas[0])
            stack.callback(replica.stop)
            replica.wait()
        yield from _strikes(stage, tries, moments, replica)


def _strikes(stage: Stage, tries: int, moments: Random, replica: Replica | None) -> Iterator[Try]:
    for number in range(tries):
        stage.ready()
        ended = stage.wait_for_end(stage.order())
        stage.client.post(f"{ALIAS}/rollback", json={"to": 1, "reason": "to begin"})
        body = {"version": ended.version, "mode": "shadow"}
        started = stage.client.post(f"{ALIAS}/trials", json=body, headers={"If-Match": "*"})
        assert started.status_code == 201, started.text
        images = [picture(moments.randrange(1 << 20)) for _ in range(IMAGES)]
        until(lambda images=images: stage.classify(images[:1]))
        strike = STRIKES[number % len(STRIKES)]
        if strike == CANDIDATE:
            yield _fail(stage, images, replica)
        else:
            yield _label(stage, strike, images)


def _label(stage: Stage, point: str, images: list[bytes]) -> Try:
    """Labels are sent again until they are acknowledged: each counts once."""
    before = _settled(stage, 1)["counts"]
    answer = stage.classify(images)
    assert answer is not None
    _settled(stage, before["current"]["answered"] + IMAGES)
    labels = [{"prediction": row["prediction"], "label": "shape 0"} for row in answer["data"]]
    stage.points.arm(point, Blow(signal=KILL))
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


def _fail(stage: Stage, images: list[bytes], replica: Replica | None) -> Try:
    """Once inference is back it knows the live version alone: every answer comes, and says so."""
    before = _settled(stage, 1)["counts"]
    stage.platform.artifacts.delete(stage.undisturbed)
    if replica is None:
        _kill_embedded_inference(stage)
    else:
        replica.kill()
        replica.start()
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
