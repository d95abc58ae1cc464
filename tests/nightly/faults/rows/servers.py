"""API, Redis and PostgreSQL killed, Redis flushed, while clients order and a worker works."""

from collections.abc import Iterator
from random import Random
from threading import Event
from time import sleep

from core.values import JobId
from tests.nightly.faults.points import KILL, Blow
from tests.nightly.faults.rows.clock import only
from tests.nightly.faults.rows.orders import Account, Clients, settle, wait_for_order
from tests.nightly.faults.rows.worker_kill import judge
from tests.nightly.faults.stage import Stage, now, until
from tests.nightly.faults.tries import Try
from tests.support.processes import wait_for_exit

WITHIN_S = 1.5  # of random moments

# What is answered without a database: that the process lives, and nothing else.
LOOKS = {"/healthz": 200, "/readyz": 503, "/v1/models": 503, "/v1/jobs": 503, "/v1/workers": 503}

API_POINTS = ("order.before", "order.after", "reply", "any moment")


def api(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """SIGKILL of the API before and after a commit, right after a reply, and at any moment."""
    for number in range(tries):
        point = API_POINTS[number % len(API_POINTS)]
        moment = moments.uniform(0, WITHIN_S)
        stage.ready()
        job = stage.order()
        killed = Event()

        def kill(killed: Event = killed) -> None:
            if not killed.is_set():
                killed.set()
                stage.api.kill()

        with Clients(stage, f"api-{number}") as clients:
            until(lambda clients=clients: clients.accepted)
            if point.startswith("order"):
                stage.points.arm(point, Blow(signal=KILL))
            elif point == "reply":
                clients.on_accepted = kill
            else:
                sleep(moment)
                kill()
            wait_for_exit(stage.api)
            struck = now()
        stage.mend()
        first = wait_for_order(stage, f"api-{number}-again")
        took = first.done - struck
        account = settle(stage, [*clients.answers, first])
        what = f"{point}, {len(clients.accepted)} of {len(clients.answers)} acknowledged"
        yield _tried(stage, job, what, account, struck, took)


def redis(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """SIGKILL of Redis at a random moment; orders go on while it is away."""
    for number in range(tries):
        moment, away = moments.uniform(0, WITHIN_S), moments.uniform(0.2, 2.0)
        stage.ready()
        before = _children(stage)
        job = stage.order()
        with Clients(stage, f"redis-{number}", count=2, pause_s=0.5) as clients:
            sleep(moment)
            stage.broker.kill()
            sleep(away)
            stage.broker.start()
            back = now()
            sleep(0.5)
        account = settle(stage, clients.answers)
        what = f"away for {away:.1f} s, {len(clients.answers)} orders meanwhile"
        took = _consumes_again(stage, clients, back)
        trouble = _refused(clients) or _deaf(stage, f"redis-{number}") or _restarted(stage, before)
        yield _tried(stage, job, what, account, back, took, trouble)


def flush(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """FLUSHALL again and again while orders come in."""
    for number in range(tries):
        moment = moments.uniform(0, 0.5)
        stage.ready()
        before = _children(stage)
        job = stage.order()
        with (
            Clients(stage, f"flush-{number}", count=2) as clients,
            stage.broker.client() as client,
        ):
            sleep(moment)
            for _ in range(10):
                client.flushall()
                sleep(0.1)
            flushed = now()
        account = settle(stage, clients.answers)
        took = _consumes_again(stage, clients, flushed)
        what = f"10 times, {len(clients.answers)} orders meanwhile"
        trouble = _refused(clients) or _deaf(stage, f"flush-{number}") or _restarted(stage, before)
        yield _tried(stage, job, what, account, flushed, took, trouble)


def postgres(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """SIGKILL of PostgreSQL, all its processes, at a random moment."""
    for number in range(tries):
        moment, away = moments.uniform(0, WITHIN_S), moments.uniform(0.2, 2.0)
        stage.ready()
        job = stage.order()
        with Clients(stage, f"postgres-{number}", count=2, pause_s=0.3) as clients:
            sleep(moment)
            stage.database.kill()
            down = now()
            sleep(away)
            answers = {path: stage.client.get(path).status_code for path in LOOKS}
            up = now()
            stage.database.start()
            first = wait_for_order(stage, f"postgres-{number}-again")
        meanwhile = [one for one in clients.answers if down < one.sent and 0 < one.done < up]
        lies = [one for one in meanwhile if one.status != 503]
        trouble = f"while it was down: {lies[0]}" if lies else ""
        if answers != LOOKS:
            trouble = f"while it was down: {answers}"
        account = settle(stage, [*clients.answers, first])
        what = f"away for {away:.1f} s, {len(meanwhile)} orders refused meanwhile"
        yield _tried(stage, job, what, account, down, first.done - up, trouble)


def _tried(
    stage: Stage,
    job: JobId,
    what: str,
    account: Account,
    struck: float,
    took: float | None,
    trouble: str = "",
) -> Try:
    """The orders of the clients, and the update that was running meanwhile."""
    update = judge(stage, job, struck, what)
    return Try(
        what=what,
        trouble=trouble or account.trouble or update.trouble,
        lost=account.lost + update.lost,
        duplicated=account.duplicated + update.duplicated,
        equal=update.equal,
        recovery_s=took,
    )


def _consumes_again(stage: Stage, clients: Clients, moment: float) -> float | None:
    """From a moment to the next claim of what was accepted; None when all was claimed before."""
    jobs = [one.job for one in clients.accepted if one.job is not None]
    waits = [stage.claimed_after(job, moment) for job in jobs]
    return min((late for late in waits if late is not None), default=None)


def _children(stage: Stage) -> list[int]:
    return [child.pid for child in stage.children()]


def _refused(clients: Clients) -> str:
    """Trouble, if an order was not accepted."""
    refused = [one for one in clients.answers if one.status != 202]
    return f"not accepted: {refused[0]}" if refused else ""


def _deaf(stage: Stage, prefix: str) -> str:
    """Trouble, if a worker that is alone does not hear of an order."""
    for number, worker in enumerate(stage.supervisors()):
        with only(stage, worker):
            job = wait_for_order(stage, f"{prefix}-alone-{number}").job
            assert job is not None
            try:
                until(lambda job=job: stage.find(job).status.done)
            except AssertionError:
                return f"worker {number} is deaf"
    return ""


def _restarted(stage: Stage, before: list[int]) -> str:
    """Trouble, if a worker child is not the one it was."""
    present = _children(stage)
    return "" if present == before else f"children were {before} and are {present}"
