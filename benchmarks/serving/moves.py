"""Move an alias back and forth while clients classify: `python -m benchmarks.serving.moves`.

A row without moves and one with them: failed requests, answers that are not those of the version
whose digest they name, and the wait for an answer. After each move, a request of its own tells how
long it takes until the alias answers with the version that it has moved to.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx

from benchmarks.ingest.jpegs import write_jpegs
from benchmarks.output import publish
from benchmarks.serving.second_version import add_version
from benchmarks.serving.served import served, serving
from benchmarks.serving.watch import CLOSE, Question, Seen, ask, connect, probabilities, watch
from demo.service import Service

MODEL, IMAGES, SIDE = "moved", 8, 224
CLASSES = ["ankle boot", "bag", "coat", "dress", "pullover"]
TURN_S = 2.0  # the clients' measurements, one after the other


def questions_of(service: Service, files: Sequence[bytes]) -> list[Question]:
    """Ask both versions about each image; return the same questions to the alias."""
    return [_question(service, data) for data in files]


def _question(service: Service, data: bytes) -> Question:
    expected = {}
    for reference in (f"{MODEL}:1", f"{MODEL}:2"):
        asked = _request(service, reference, data, {})
        status, answer = ask(asked, connect(asked))
        if status != 200:
            raise RuntimeError(answer)
        expected[answer["digest"]] = probabilities(answer)
    one, two = expected.values()
    if max(abs(one[name] - two[name]) for name in one) < 10 * CLOSE:
        raise RuntimeError("the versions answer too much alike to be told apart")
    return _request(service, MODEL, data, expected)


def _request(
    service: Service, reference: str, data: bytes, expected: dict[str, dict[str, float]]
) -> Question:
    request = httpx.Request(
        "POST",
        f"{service.url}/v1/models/{reference}/classify",
        headers={"Authorization": f"Bearer {service.key}"},
        files=[("images", ("photograph.jpg", data, "image/jpeg"))],
        data={"classes": json.dumps(CLASSES)},
    )
    return Question(
        url=str(request.url),
        headers=dict(request.headers),
        body=request.read(),
        expected=expected,
    )


def move(service: Service, question: Question, count: int) -> tuple[list[float], int]:
    """Move the alias; return how long each new version took to answer, and how often it did not."""
    took, late, connection = [], 0, connect(question)
    with service.client() as client:
        for number in range(count):
            version = 2 - number % 2
            client.aliases.promote(MODEL, version, reason="measured", override=True)
            began = time.perf_counter()
            _, answer = ask(question, connection)
            took.append(time.perf_counter() - began)
            late += answer["version"] != version
    return took, late


def row_of(name: str, seen: Sequence[Seen], took: Sequence[float], late: int) -> dict[str, Any]:
    """Return a row of the table."""
    waits = [wait for one in seen for wait in one.waits]
    return {
        "alias": name,
        "moves": len(took),
        "requests": len(waits),
        "failed": sum(len(one.failed) for one in seen),
        "wrong": sum(one.wrong for one in seen),
        "p50 ms": 1000 * median(waits),
        "p99 ms": 1000 * quantiles(waits, n=100)[98],
        "another version after a move": late,
        "p99 ms of the first answer": 1000 * quantiles(took, n=100)[98] if took else 0.0,
        "longest": 1000 * max(took, default=0.0),
    }


def main() -> None:
    """Measure and publish the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.moves", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--moves", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--still", type=float, default=20.0, help="seconds without moves")
    given = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perennial-moves-")))
        files = [path.read_bytes() for path in write_jpegs(home / "jpegs", IMAGES, SIDE)]
        spawning = multiprocessing.get_context("spawn")
        pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=spawning))
        service = stack.enter_context(serving(home, os.cpu_count() or 1))
        served(service, MODEL, "bundled", CLASSES, files[:1])
        add_version(service.home, MODEL)
        questions = questions_of(service, files)

        def turn() -> Seen:
            return pool.submit(watch, questions, given.clients, TURN_S).result()

        turn()  # warms up
        still = [turn() for _ in range(max(1, round(given.still / TURN_S)))]
        moved: list[tuple[list[float], int]] = []
        mover = threading.Thread(
            target=lambda: moved.append(move(service, questions[0], given.moves))
        )
        mover.start()
        moving = []
        while mover.is_alive():
            moving.append(turn())
        mover.join()
    took, late = moved[0]
    rows = [row_of("still", still, [], 0), row_of("moving", moving, took, late)]
    publish("serving_moves", rows, **vars(given))


if __name__ == "__main__":
    main()
