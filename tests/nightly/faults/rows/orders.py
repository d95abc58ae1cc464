"""Clients that order imports, each under an Idempotency-Key, and remember what was answered."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from time import sleep
from typing import Self

import httpx

from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.registry.rows import Models
from core.values import JobId
from tests.nightly.faults.stage import KEY, START_S, TLS, Stage, now
from tests.support.processes import wait_for


@dataclass
class Answered:
    """An order, and what its client was told."""

    name: str  # of the model, and the Idempotency-Key
    sent: float
    status: int | None = None  # None: the connection broke
    done: float = 0.0
    job: JobId | None = None


@dataclass
class Clients:
    """Some clients that order at once, until they are told to stop."""

    stage: Stage
    prefix: str
    count: int = 4
    pause_s: float = 0.1
    on_accepted: Callable[[], None] = lambda: None
    answers: list[Answered] = field(default_factory=list)
    _stopping: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Begin to order."""
        for number in range(self.count):
            thread = Thread(target=self._order_on, args=(number,), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for the last answers."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def accepted(self) -> list[Answered]:
        """What was acknowledged."""
        return [one for one in self.answers if one.status == 202]

    def _order_on(self, client: int) -> None:
        number = 0
        while not self._stopping.is_set():
            name = f"{self.prefix}-{client}-{number}"
            answer = Answered(name=name, sent=now())
            self.answers.append(answer)
            order(self.stage, answer)
            if answer.status == 202:
                self.on_accepted()
            number += 1
            self._stopping.wait(self.pause_s)


def order(stage: Stage, answer: Answered) -> None:
    """Send an order, and note what comes back."""
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": answer.name}
    body = {"name": answer.name, "base": str(stage.settings.home / "base")}
    url = f"http://127.0.0.1:{stage.settings.port}/v1/models"
    with suppress(httpx.TransportError):
        reply = httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False, verify=TLS)
        answer.status, answer.done = reply.status_code, now()
        if reply.status_code == 202:
            answer.job = JobId(reply.json()["id"])


@dataclass(frozen=True, kw_only=True)
class Account:
    """What became of orders."""

    lost: int
    duplicated: int
    trouble: str


def settle(stage: Stage, answers: Sequence[Answered]) -> Account:
    """Send every order again, and see that each made one job, the acknowledged one, which ends."""
    lost, twice, trouble = 0, 0, ""
    jobs: list[JobId] = []
    for first in answers:
        again = Answered(name=first.name, sent=now())
        for _ in range(5):  # in progress: its first sender may still be at it
            order(stage, again)
            if again.status != 409:
                break
            sleep(0.2)
        if again.job is None:
            trouble = f"{first.name} sent again: {again.status}"
            continue
        jobs.append(again.job)
        lost += first.job is not None and not _exists(stage, first.job)
        twice += first.job not in {None, again.job}
        twice += _jobs_of(stage, first.name) - 1
    for job in jobs:
        ended = stage.wait_for_end(job)
        if ended.status is not JobStatus.SUCCEEDED:
            lost += 1
            trouble = f"{ended.status}: {ended.error}"
    return Account(lost=lost, duplicated=twice, trouble=trouble)


def wait_for_order(stage: Stage, name: str) -> Answered:
    """The first order of this name that is accepted; sent until one is."""

    def accepted() -> Answered | None:
        answer = Answered(name=name, sent=now())
        order(stage, answer)
        return answer if answer.status == 202 else None

    return wait_for(accepted, seconds=START_S)


def _exists(stage: Stage, job: JobId) -> bool:
    return stage.client.get(f"/v1/jobs/{job}").status_code == 200


def _jobs_of(stage: Stage, model: str) -> int:
    with stage.platform.transactions(read_only=True) as work:
        return len(work[Jobs].page(10, None, model=work[Models].get(model).id))
