"""Clients that check each answer against those that both versions gave before."""

import http.client
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

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
    """What clients have seen."""

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
