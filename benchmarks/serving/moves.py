"""Moves of an alias between two versions while clients classify over it.

Windows without and with moves alternate. Every second move is a rollback. One more client asks
right after each move, until the alias answers with its new version; in a window without moves it
asks as often, so that both have the same load. Failed requests, answers that are not those of the
version that they name, and waits for answers are told of both kinds of window; and after each move,
how long it takes until the new version answers.

A thousand moves, 2.5 a second, take a quarter of an hour with the windows between them. That is far
more often than anybody moves an alias, and each window has enough requests for its p99.
"""

import argparse
import http
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import torch
from pydantic import SecretStr

from benchmarks.ingest import write_jpegs
from benchmarks.serving.classify import served, serving
from core.bootstrap import build, close
from core.clip.model import load, publish
from core.gate.rules import Verdict
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.verdicts import VersionVerdict
from core.registry.version_rows import Versions
from core.registry.versions import Version, VersionStatus
from core.settings import Settings
from demo.service import Service

# A second version of a served model, put into the registry without training.


NOISE = 0.05  # standard deviation of what is added to the image tower


def add_version(home: Path, model: str) -> Version:
    """Add a version whose image tower differs from that of version 1."""
    platform = build(Settings(home=home, admin_key=SecretStr("")))
    try:
        with platform.transactions(read_only=True) as work:
            found = work[Models].get(model)
            root = work[Versions].get(found.id, 1)
        clip = load(root.digest, platform.artifacts)
        chance = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in clip.visual.parameters():
                tensor.add_(torch.randn(tensor.shape, generator=chance), alpha=NOISE)
        state = clip.network.state_dict()
        weights = publish(clip.config, state, platform.artifacts, lambda *_: None)
        with platform.transactions() as work:
            version = Version(
                model=found.id,
                number=work[Versions].next_number(found.id),
                status=VersionStatus.PROMOTED,
                digest=weights.digest,
                size=weights.size,
                parent=1,
                job=root.job,
                verdict=Verdict.PASSED,
                prompt=root.prompt,
                created_at=platform.clock(),
            )
            work[Versions].add(version)
            verdict = VersionVerdict(
                model=found.id,
                version=version.number,
                beside=root.number,
                policy=found.policy,
                suites=tuple(sorted(found.suites)),
                verdict=Verdict.PASSED,
                report=platform.artifacts.put(b"{}"),
                images=0,
                job=root.job,
                at=version.created_at,
            )
            work[Verdicts].add(verdict)
            work.commit()
    finally:
        close(platform)
    return version


# Clients that check each answer against those that both versions gave before.


CLOSE = 1e-3  # batches of other sizes round otherwise; versions differ by far more

Named = tuple[int, str]  # number and digest of the version that an answer names

Expected = Mapping[Named, Mapping[str, float]]  # the probabilities that each version gives


@dataclass(frozen=True, kw_only=True)
class Question:
    """A request to classify one image, and what each version answers."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    expected: Expected


@dataclass(kw_only=True)
class Seen:
    """The waits, failures and wrong answers of clients."""

    waits: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wrong: int = 0  # answers that are not those of the version they name


def ask(question: Question, connection: http.client.HTTPConnection) -> tuple[int, Any]:
    """Send the request; return status and JSON of the answer."""
    target = urlsplit(question.url)
    connection.request("POST", target.path, question.body, dict(question.headers))
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def connect(question: Question) -> http.client.HTTPConnection:
    """Return a connection to the service."""
    return http.client.HTTPConnection(urlsplit(question.url).netloc, timeout=120)


def probabilities(answer: Any) -> dict[str, float]:
    """Return the probabilities of an answer's one image by class."""
    return {row["class"]: row["probability"] for row in answer["data"][0]["predictions"]}


def version_of(answer: Any) -> Named:
    """Return number and digest of the version that an answer names."""
    return answer["version"], answer["digest"]


def watch(questions: Sequence[Question], clients: int, seconds: float) -> Seen:
    """Have clients ask one question after the other for some time."""
    seen, until = Seen(), time.perf_counter() + seconds
    threads = [
        threading.Thread(target=_client, args=(questions[n % len(questions)], until, seen))
        for n in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def _client(question: Question, until: float, seen: Seen) -> None:
    connection = connect(question)
    while (began := time.perf_counter()) < until:
        try:
            status, answer = ask(question, connection)
        except (OSError, http.client.HTTPException) as error:
            seen.failed.append(repr(error))
            connection = connect(question)
            continue
        seen.waits.append(time.perf_counter() - began)
        if status != 200:
            seen.failed.append(str(answer))
        elif not _is_right(question, answer):
            seen.wrong += 1
    connection.close()


def _is_right(question: Question, answer: Any) -> bool:
    given, expected = probabilities(answer), question.expected.get(version_of(answer), {})
    return expected.keys() == given.keys() and all(
        abs(given[name] - value) < CLOSE for name, value in expected.items()
    )


MODEL, IMAGES = "moved", 8

CLASSES = ["ankle boot", "bag", "coat", "dress", "pullover"]


@dataclass(kw_only=True)
class Moves:
    """The seconds that moves of an alias took."""

    moving: list[float] = field(default_factory=list)  # until the reply to a move
    answering: list[float] = field(default_factory=list)  # from there to the new version's answer
    late: int = 0  # answers of the earlier version to requests sent after the reply


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
        expected[version_of(answer)] = probabilities(answer)
    one, two = expected.values()
    if max(abs(one[name] - two[name]) for name in one) < 10 * CLOSE:
        raise RuntimeError("the versions answer too much alike to be told apart")
    return _request(service, MODEL, data, expected)


def _request(service: Service, reference: str, data: bytes, expected: Expected) -> Question:
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


def times(given: argparse.Namespace) -> Iterator[None]:
    """Wait for each time in a window at which the alias may move; yield then."""
    began = time.perf_counter()
    for number in count():
        due = began + number / given.moves_a_second
        time.sleep(max(0.0, due - time.perf_counter()))
        if time.perf_counter() > began + given.window:
            return
        yield


def stay(question: Question, given: argparse.Namespace) -> None:
    """Ask what `move` asks, as often, without moving the alias."""
    connection = connect(question)
    for _ in times(given):
        ask(question, connection)
    connection.close()


def move(service: Service, question: Question, moves: Moves, given: argparse.Namespace) -> None:
    """Move the alias to version 2 and back during a window, at most so often as is asked for."""
    connection = connect(question)
    with service.client() as client:
        for _ in times(given):
            if len(moves.moving) == given.moves:
                break
            to = 1 if len(moves.moving) % 2 else 2
            called = time.perf_counter()
            if to == 2:
                client.aliases.promote(MODEL, to, reason="measured", override=True)
            else:
                client.aliases.roll_back(MODEL, reason="measured")
            moved = time.perf_counter()
            moves.moving.append(moved - called)
            while ask(question, connection)[1]["version"] != to:
                moves.late += 1
            moves.answering.append(time.perf_counter() - moved)
    connection.close()


def measure(
    service: Service, questions: Sequence[Question], given: argparse.Namespace, watching: Executor
) -> tuple[list[Seen], list[Seen], Moves]:
    """Alternate windows without and with moves, until all moves are made."""
    still: list[Seen] = []
    moving: list[Seen] = []
    moves = Moves()

    def turn() -> Future[Seen]:
        return watching.submit(watch, questions, given.watching, given.window)

    turn().result()  # warms up
    with ThreadPoolExecutor(1, thread_name_prefix="mover") as mover:
        while len(moves.moving) < given.moves:
            for windows, during in (
                (still, partial(stay, questions[0], given)),
                (moving, partial(move, service, questions[0], moves, given)),
            ):
                seen = turn()
                mover.submit(during).result()
                windows.append(seen.result())
    return still, moving, moves


def row_of(name: str, seen: Sequence[Seen], still: Sequence[Seen], moves: Moves) -> dict[str, Any]:
    """Return a row of the table; `still` are the windows without moves."""
    waits = [wait for one in seen for wait in one.waits]
    return {
        "alias": name,
        "moves": len(moves.moving),
        "requests": len(waits),
        "failed": sum(len(one.failed) for one in seen),
        "wrong": sum(one.wrong for one in seen),
        "p50 ms": 1000 * median(waits),
        "p99 ms": 1000 * _p99(waits),
        "p99 : still": _p99(waits) / _p99([wait for one in still for wait in one.waits]),
        "by window": median(
            _p99(one.waits) / _p99(other.waits) for one, other in zip(seen, still, strict=True)
        ),
        "p99 ms of a move": 1000 * _p99(moves.moving),
        "late": moves.late,
        "p99 ms until the new version answers": 1000 * _p99(moves.answering),
        "longest": 1000 * max(moves.answering, default=0.0),
    }


def _p99(taken: Sequence[float]) -> float:
    return quantiles(taken, n=100)[98] if len(taken) > 1 else sum(taken)


def bench_moves(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Move an alias while clients classify over it."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="perennial-moves-")))
        files = [path.read_bytes() for path in write_jpegs(home / "jpegs", IMAGES, given.side)]
        pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
        service = stack.enter_context(serving(home, given.threads))
        served(service, MODEL, "bundled", CLASSES, files[:1])
        add_version(service.home, MODEL)
        questions = questions_of(service, files)
        still, moving, moves = measure(service, questions, given, pool)
    for failed in [one for seen in (*still, *moving) for one in seen.failed][:10]:
        print(failed)
    return [row_of("still", still, still, Moves()), row_of("moving", moving, still, moves)]
