"""The service as it runs, in production and embedded: real processes and servers, kept running.

Rows do them harm meanwhile.
"""

import json
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, TypeVar

import httpx
import psutil
from pydantic import SecretStr

from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.operations.rows import Gauges
from core.settings import ImportBucket
from core.values import Digest, JobId
from devtools.ports import free_port
from devtools.servers import (
    CREDENTIALS,
    DURABLE,
    PostgresServer,
    RedisServer,
    postgres_server,
    redis_server,
    run_sql,
)
from perennial.client import Client
from tests.nightly.faults import line
from tests.nightly.faults.points import Points
from tests.support.bundles import OURS
from tests.support.processes import Site, wait_for, wait_for_exit

T = TypeVar("T")

TLS = ssl.create_default_context()  # one for all clients: to make one takes ten milliseconds

KEY = "pk_a-key-that-only-tests-know-of"

START_S = 180.0  # a worker child loads torch, and the machine may be busy

API = ("cli", "serve")

WORKER = ("worker.supervision", "--exit-with-parent")


@dataclass(kw_only=True)
class Program:
    """A process that must always be running."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Stage:
    """A service with a model on a minuscule CLIP; dead processes are started again by `mend`."""

    database: PostgresServer  # both in production only
    broker: RedisServer
    undisturbed: Digest
    lasts_s: float  # an undisturbed update, from its claim to its end

    def __init__(self, site: Site, points: Points, programs: list[Program]) -> None:
        self.site = site
        self.platform = site.platform
        self.settings = site.settings
        self.points = points
        self._programs = programs
        self.client = self.new_client()

    def new_client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.settings.port}",
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=60,
            trust_env=False,
            verify=TLS,
        )

    # ---- Processes ----

    @property
    def api(self) -> "subprocess.Popen[bytes]":
        return self._programs[0].process

    def mend(self) -> None:
        """Start what should run and does not, as a service manager would."""
        for program in self._programs:
            if not program.is_running:
                if program.process is not None and program.process.stdin is not None:
                    program.process.stdin.close()
                environment = {**self.points.environment, **program.environment}
                program.process = self.site.start(*program.command, **environment)

    def run_also(self, program: Program) -> Program:
        """Have one more program run always, unless there is one like it; return it."""
        alike = (program.command, program.environment)
        found = [one for one in self._programs if (one.command, one.environment) == alike]
        if not found:
            self._programs.append(program)
        self.mend()
        return (found or [program])[0]

    def ready(self) -> None:
        """Have everything run: the API answers, every worker child receives messages."""
        self.resume()
        self.mend()
        wait_for(self._is_ready, seconds=START_S, every=0.2)
        line.reset(self.platform, self.undisturbed)

    def resume(self) -> None:
        """Let all go on that a row which failed has left stopped."""
        for process in self.site.processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def wait_for_api(self) -> None:
        """Return once the API and its database answer."""
        wait_for(self.answers, seconds=START_S)

    def answers(self) -> bool:
        """Whether the API can reach its database now."""
        with suppress(httpx.TransportError):
            return self.client.get("/v1/workers").status_code == 200
        return False

    def supervisors(self) -> list[psutil.Process]:
        """The living workers' parents."""
        if self.settings.embedded:
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(self.api.pid).children()
                return [child for child in children if "worker.supervision" in _command(child)]
            return []
        workers = [one for one in self._programs if one.command == WORKER and one.is_running]
        return [psutil.Process(one.process.pid) for one in workers if one.process]

    def started(self, supervisor: psutil.Process) -> "subprocess.Popen[bytes]":
        """The handle of a worker that this stage has started itself."""
        running = (one.process for one in self._programs if one.process)
        return next(process for process in running if process.pid == supervisor.pid)

    def kill(self, supervisor: psutil.Process, *others: psutil.Process) -> None:
        """SIGKILL a supervisor, then others, and return once the supervisor has ended.

        For a moment it may still be listed as running, though its child is gone already.
        """
        for process in (supervisor, *others):
            with suppress(psutil.NoSuchProcess):  # a child ends with its supervisor
                process.kill()
        if self.settings.embedded:  # the API waits for it
            until(lambda: not supervisor.is_running())
        else:
            wait_for_exit(self.started(supervisor))

    def children(self) -> list[psutil.Process]:
        return [child for one in self.supervisors() if (child := child_of(one))]

    def holder(self, job: JobId) -> tuple[psutil.Process, psutil.Process] | None:
        """Supervisor and child that hold a job now, if one does and they live."""
        with self.platform.transactions(read_only=True) as work:
            held = [row.owner for row in work[Gauges].running() if row.owner and row.job == job]
        for supervisor in self.supervisors():
            child = child_of(supervisor)
            if child is not None and any(owner in _command(child) for owner in held):
                return supervisor, child
        return None

    def _is_ready(self) -> bool:
        self.mend()
        wanted = 1 if self.settings.embedded else sum(p.command == WORKER for p in self._programs)
        hearing = [child for child in self.children() if self.points.is_ready(child.pid)]
        return len(hearing) == wanted and self.answers()

    def struck_at(self, point: str) -> float:
        """The time at which a process was struck at a point, once one was."""
        return until(lambda: self.points.struck_at(point))

    # ---- Jobs ----

    def order(self, **changes: Any) -> JobId:
        """Order the update: each time the same parent, data and recipe."""
        return self.accepted("/v1/jobs", json=line.body() | changes)

    def accepted(self, path: str, **request: Any) -> JobId:
        """The job that a request has ordered."""
        answer = self.client.post(path, **request)
        assert answer.status_code == 202, answer.text
        return JobId(answer.json()["id"])

    def upload(self, dataset: str, files: Sequence[tuple[str, tuple[str, bytes]]]) -> None:
        self.client.post("/v1/datasets", json={"name": dataset}).raise_for_status()
        path = f"/v1/datasets/{dataset}/images"
        self.client.post(path, files=files).raise_for_status()

    def classify(self, images: Sequence[bytes]) -> Any:
        """The answer about some images, None if there is none."""
        files = [("images", (f"{n}.png", data)) for n, data in enumerate(images)]
        fields = {"classes": '["shape 0", "shape 1", "shape 2"]'}
        with suppress(httpx.TransportError):
            path = f"/v1/models/{line.MODEL}/classify"
            answer = self.client.post(path, files=files, data=fields)
            return answer.json() if answer.status_code == 200 else None
        return None

    def find(self, job: JobId) -> Job:
        with self.platform.transactions(read_only=True) as work:
            return work[Jobs].get(job)

    def wait_for_end(self, job: JobId) -> Job:
        """The job once it has ended; whoever dies meanwhile is started again."""

        def ended() -> Job | None:
            self.mend()
            found = self.find(job)
            return found if found.status.done else None

        return wait_for(ended, seconds=START_S)

    def claimed_after(self, job: JobId, moment: float) -> float | None:
        """How many seconds after a moment the job was claimed (again); None: never."""
        with self.platform.transactions(read_only=True) as work:
            events = work[Jobs].events(job, 10_000, 0)
        claims = [event.at.timestamp() - moment for event in events if event.kind == "claimed"]
        return min((late for late in claims if late > 0), default=None)

    # ---- Beginning and end ----

    def open(self) -> None:
        """Start everything, make the model, and run one update that nothing disturbs."""
        line.prepare(self.platform, self.settings.home / "base")
        self.mend()
        self.wait_for_api()
        wait_for(self._is_ready, seconds=START_S, every=0.2)
        with Client(str(self.client.base_url), KEY, trust_env=False) as client:
            line.upload(client)
        body = line.model_body(self.settings.home / "base")
        self.wait_for_end(self.accepted("/v1/models", json=body))
        ordered = self.order()
        until(lambda: self.find(ordered).attempt)
        claimed = now()  # by this clock: what a worker writes down may be an hour off
        ended = self.wait_for_end(ordered)
        self.lasts_s = now() - claimed
        self.undisturbed = line.digest_of(self.platform, ended)

    def close(self) -> None:
        self.client.close()
        self.resume()
        self.site.close()

    def describe(self) -> str:
        """Tell who runs, the newest jobs with the last one's events, and what was logged.

        That is the last 100 lines that are not of the level `info`, such as warnings and
        tracebacks of processes that died, and the end of the log.
        """
        processes = [
            f"{process.pid} {process.status()} {_command(process)}"
            for process in self.site.processes()
        ]
        with self.platform.transactions(read_only=True) as work:
            newest = work[Jobs].page(3, None)
            events = work[Jobs].events(newest[0].id, 10_000, 0) if newest else []
        log = self.site.log
        odd = [text for text in log.splitlines() if '"level": "info"' not in text][-100:]
        return "\n".join(map(str, (*processes, *newest, *events, *odd, log[-2000:])))

    def lines(self, start: int) -> Iterator[dict[str, Any]]:
        """What the processes have logged since the log was `start` characters long."""
        for text in self.site.log[start:].splitlines():
            with suppress(ValueError):
                yield json.loads(text)


def child_of(supervisor: psutil.Process) -> psutil.Process | None:
    """A supervisor's child, if it has one now."""
    with suppress(psutil.NoSuchProcess):
        return next(iter(supervisor.children()), None)
    return None


def has_ended(process: psutil.Process) -> bool:
    """Return whether a process runs no more, though its parent may not have noticed yet."""
    with suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


@contextmanager
def at_once(clients: int, act: Callable[[int], object]) -> Iterator[None]:
    """Have some clients, each told its number, act again and again until the end of the block."""
    ended = Event()

    def go_on(client: int) -> None:
        while not ended.is_set():
            act(client)

    with ThreadPoolExecutor(clients) as pool:
        going = [pool.submit(go_on, client) for client in range(clients)]
        try:
            yield
        finally:
            ended.set()
        for one in going:
            one.result()


def until(found: Callable[[], T | None], *, seconds: float = START_S) -> T:
    """The first true answer, looked for often, but not so often that it takes a core."""
    return wait_for(found, seconds=seconds, every=0.03)


def now() -> float:
    """Seconds since 1970."""
    return time.time()


SETTINGS: Mapping[str, Any] = {
    "admin_key": SecretStr(KEY),
    "signing_key": SecretStr(OURS.private),
    "trusted_keys": {"ours": OURS.public},
    "checkpoint_seconds": 0.25,  # several in an update, which takes a second or more
    "grace_seconds": 5.0,
    "lease_seconds": 4.0,
    "min_free_bytes": 1,
    "rate_requests": 1_000_000,
    "sweep_seconds": 0.5,
    "webhook_private": True,
    "webhook_seconds": 1.0,
}

REPLICAS = 2  # of inference in production, which only the row about them starts

RECOVERY_S = SETTINGS["lease_seconds"] + 15.0


@contextmanager
def production(
    *, second: Mapping[str, str] | None = None, disk: Path | None = None, **changes: Any
) -> Iterator[Stage]:
    """API and two workers on PostgreSQL and Redis.

    `second` is the second worker's environment, `disk` an empty folder for the database.
    """
    programs = [
        Program(command=API),
        Program(command=WORKER),
        Program(command=WORKER, environment=second or {}),
    ]
    replicas = (f"http://127.0.0.1:{free_port()}" for _ in range(REPLICAS))
    with postgres_server(DURABLE, disk) as database, redis_server() as broker:
        run_sql(database.url, "postgres", "CREATE DATABASE faults")
        with _stage(
            programs,
            inference_key=SecretStr(KEY),
            inference_url=" ".join(replicas),
            broker_url=broker.url,
            database_url=database.url.format(name="faults"),
            embedded=False,
            **changes,
        ) as stage:
            stage.database, stage.broker = database, broker
            yield stage


@contextmanager
def embedded(home: Path | None = None) -> Iterator[Stage]:
    """The embedded service: SQLite, a filesystem broker, one worker, inference."""
    with _stage([Program(command=API)], home, inference_port=free_port()) as stage:
        yield stage


@contextmanager
def _stage(programs: list[Program], home: Path | None = None, **changes: Any) -> Iterator[Stage]:
    """Programs that run on an empty folder, with a bucket on a free port of this machine."""
    bucket = ImportBucket(
        name="photos",
        endpoint=f"http://127.0.0.1:{free_port()}",
        region="us-east-1",
        access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    with _folder() as own, _folder() as points:
        home = home or Path(own)
        site = Site(
            home,
            **SETTINGS,
            import_buckets=(bucket,),
            port=free_port(),
            root_folders=(home,),
            **changes,
        )
        stage = Stage(site, Points(Path(points)), programs)
        try:
            stage.open()
            yield stage
        finally:
            stage.close()


def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="perennial-faults-", ignore_cleanup_errors=True)
