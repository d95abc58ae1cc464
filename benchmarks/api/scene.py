"""HTTP clients that keep their connections and send requests one after the other.

They write plain HTTP/1.1 to sockets, because an HTTP library takes longer than what is measured.
Run them in a separate process, so that their work does not count as the server's.
"""

import asyncio
import multiprocessing
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import Connection, Table, insert, select

from core.database.engine import open_engine
from core.database.tables import (
    audit_events,
    dataset_images,
    datasets,
    deliveries,
    images,
    jobs,
    models,
    thumbnails,
    versions,
    webhooks,
)
from core.database.work import Transactions, Work
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind
from core.gate.rules import Verdict
from core.jobs.orders import JobType, UpdateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, Progress, model_of
from core.recipes.fields import DEFAULT_PROMPT
from core.recipes.rules import Recipe
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Version, VersionStatus
from core.values import DatasetId, Digest, JobId, new_id, sha256
from demo import images as pack_reader
from demo.service import Service, running_service
from devtools.ports import free_port
from devtools.servers import DURABLE, postgres_server
from perennial.client import Client


@dataclass(frozen=True, kw_only=True)
class Target:
    """A complete request and the server to send it to."""

    name: str
    host: str
    port: int
    pid: int  # of the process that answers
    message: bytes

    @classmethod
    def of(cls, name: str, pid: int, request: httpx.Request) -> "Target":
        """Serialise a request of httpx."""
        line = b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)
        headers = [b"%s: %s" % header for header in request.headers.raw]
        message = b"\r\n".join([line, *headers, b"", request.read()])
        return cls(
            name=name, pid=pid, host=request.url.host, port=request.url.port or 80, message=message
        )


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The measurements of one turn, all in seconds."""

    answers: Mapping[str, Sequence[float]]  # latencies, by target
    errors: Sequence[str]  # each with its target
    seconds: float  # duration of the turn
    cpu: float  # CPU time of the server

    @property
    def latencies(self) -> list[float]:
        """The latencies of all answers."""
        return list(chain.from_iterable(self.answers.values()))


class _Client(asyncio.Protocol):
    """One connection, which sends the next request after each response until the time is up."""

    def __init__(self, targets: Iterator[Target], until: float) -> None:
        self.answers: list[tuple[str, float]] = []
        self.errors: list[str] = []
        self.ended = asyncio.get_running_loop().create_future()
        self._targets = targets
        self._until = until

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Record the latency of a complete response and send the next request."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < content_length(head):
            return
        self.answers.append((self._sent.name, time.perf_counter() - self._sent_at))
        status = head[9:12].decode()
        if not status.startswith("2"):
            self.errors.append(f"{self._sent.name}: {status}")
        if time.perf_counter() < self._until:
            self._send()
        else:
            self.ended.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Note that the server closed the connection before the client finished."""
        if not self.ended.done():
            self.errors.append(f"{self._sent.name}: {error or 'connection closed'}")
            self.ended.set_result(None)

    def _send(self) -> None:
        self._received = b""
        self._sent = next(self._targets)
        self._sent_at = time.perf_counter()
        self._transport.write(self._sent.message)


def content_length(head: bytes) -> int:
    """Return the length of the body that the head of a response announces."""
    name = b"content-length:"
    return next(
        int(line[len(name) :]) for line in head.split(b"\r\n") if line[: len(name)].lower() == name
    )


def load_pool() -> ProcessPoolExecutor:
    """Return a process for `load`."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def load(targets: Sequence[Target], clients: int, seconds: float) -> Taken:
    """Run `clients` clients for `seconds`; each sends all targets, which one server has, in turn.

    Raises ConnectionError when the server does not accept a connection.
    """
    return asyncio.run(_load(targets, clients, seconds))


def wait_until_answered(target: Target) -> None:
    """Wait until a newly started server responds. Raises ConnectionError after 60 s."""
    deadline = time.monotonic() + 60
    while True:
        try:
            load([target], 1, 0)
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


async def _load(targets: Sequence[Target], clients: int, seconds: float) -> Taken:
    loop, server = asyncio.get_running_loop(), psutil.Process(targets[0].pid)
    worked = _cpu(server)
    began = time.perf_counter()
    until = began + seconds
    running = []
    for number in range(clients):
        mine = islice(cycle(targets), number % len(targets), None)
        _, client = await loop.create_connection(
            partial(_Client, mine, until), targets[0].host, targets[0].port
        )
        running.append(client)
    await asyncio.gather(*(client.ended for client in running))
    answers: dict[str, list[float]] = {target.name: [] for target in targets}
    for name, latency in chain.from_iterable(client.answers for client in running):
        answers[name].append(latency)
    return Taken(
        answers=answers,
        errors=[error for client in running for error in client.errors],
        seconds=time.perf_counter() - began,
        cpu=_cpu(server) - worked,
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# Rows for the benchmarked service: jobs, versions and datasets as in a service in use.


ENDED = datetime(2026, 3, 1, tzinfo=UTC)


def write_rows(url: str, model: str, count: int) -> JobId:
    """Write `count` succeeded updates of a model, each with its own dataset; return a job's id."""
    transactions = Transactions(url)
    with transactions() as work:
        jobs = [_add_update(work, model, number) for number in range(count)]
        work.commit()
    transactions.close()
    return jobs[count // 2]


def _add_update(work: Work, model: str, number: int) -> JobId:
    """Add the dataset, job and version of a succeeded update; return the job's id."""
    now = ENDED + timedelta(hours=number)
    found = work[Models].get(model)
    dataset = Dataset(
        id=DatasetId(new_id("ds", now)),
        name=f"products-{number}",
        kind=DatasetKind.LABELLED,
        created_at=now,
    )
    work[Datasets].add(dataset)
    version = work[Versions].next_number(found.id)
    terms = {"loss": 0.61, "vr": 0.02, "accuracy": 0.93, "scale": 100.0, "images_per_second": 81.5}
    job = Job(
        id=JobId(new_id("job", now)),
        type=JobType.UPDATE,
        model=found.id,
        lane=found.id,
        order=UpdateOrder(dataset=dataset.id, dataset_version=1, recipe=Recipe()),
        progress=Progress(step=480, total=480, eta_s=0.0, terms=terms),
        parent_version=version - 1,
        attempt=1,
        version=version,
        metadata={"team": "shop"},
        created_at=now,
        started_at=now,
    )
    result = {"version": version, "report": _random_digest(), "verdict": "passed"}
    work[Jobs].add(job.succeed(result, now + timedelta(minutes=5)))
    work[Versions].add(_version(job, version, _names(number)))
    return job.id


def _version(job: Job, number: int, classes: Sequence[str]) -> Version:
    return Version(
        model=model_of(job),
        number=number,
        status=VersionStatus.PROMOTED,
        digest=_random_digest(),
        size=36_000_000,
        parent=job.parent_version,
        job=job.id,
        recipe=Recipe(),
        update_classes=tuple(classes[-5:]),
        classes=tuple(classes),
        prompt=DEFAULT_PROMPT,
        verdict=Verdict.PASSED,
        report=_random_digest(),
        environment={"python": "3.11.7", "torch": "2.9.0", "open_clip": "3.2.0"},
        created_at=job.created_at,
    )


def _names(number: int) -> list[str]:
    """Return the classes known after an update, of which each adds five."""
    return [f"class {index}" for index in range(5 * (number + 1))]


def _random_digest() -> Digest:
    return sha256(secrets.token_bytes(16))


# The servers that are measured: the service with rows as in use, and the bare endpoints.


MODEL, LISTED = "demo", 20

BARE = "bare row"

RATE = str(10**9)  # all clients have one key, whose requests are counted but never too many


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The two servers, which share a database."""

    database: str
    url: str  # of the database
    service: Service
    client: Client
    bare_url: str
    bare_pid: int
    job: str  # a job that has succeeded

    def ask(self, name: str, path: str, method: str = "GET", **options: Any) -> Target:
        """Return a request to the service."""
        headers = {"Authorization": f"Bearer {self.service.key}"}
        api = httpx.Client(base_url=self.service.url, headers=headers)
        return Target.of(name, self.service.pid, api.build_request(method, path, **options))

    def ask_bare(self, name: str, path: str, method: str = "GET", **options: Any) -> Target:
        """Return a request to a bare endpoint."""
        request = httpx.Request(method, self.bare_url + path, **options)
        return Target.of(name, self.bare_pid, request)

    @property
    def bare_row(self) -> Target:
        """The request of the bare endpoint that reads one row."""
        return self.ask_bare(BARE, f"/rows/{self.job}")

    @contextmanager
    def training(self) -> Iterator[None]:
        """Keep the worker training within the context. Raises SystemExit if it ended early."""
        images = pack_reader.named("fashion_mnist")
        self.client.datasets.create("training")
        self.client.datasets.upload("training", ((image.text, image.file) for image in images))
        self.client.datasets.freeze("training")
        job = self.client.jobs.order_update(
            model=MODEL,
            dataset="training",
            dataset_version=1,
            parent=1,
            recipe={"epochs": 200},
        )["id"]
        while self.client.jobs.get(job)["phase"] != "training":
            time.sleep(0.2)
        yield
        ended = self.client.jobs.cancel(job)
        if ended["phase"] != "training":
            raise SystemExit(f"The job did not train all the while: {ended}")


@contextmanager
def opened(database: str) -> Iterator[Scene]:
    """Start both servers on a new database, and stop them at the end."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perennial-api-")))
        url = stack.enter_context(_database(database, home))
        service = stack.enter_context(
            running_service(home, PERENNIAL_DATABASE_URL=url, PERENNIAL_RATE_REQUESTS=RATE)
        )
        client = stack.enter_context(service.client())
        client.jobs.wait(client.models.create(MODEL)["id"])  # imports the bundled model
        job = write_rows(url, MODEL, LISTED + 5)
        bare_url, bare_pid = stack.enter_context(_bare_service(url))
        scene = Scene(
            database=database,
            url=url,
            service=service,
            client=client,
            bare_url=bare_url,
            bare_pid=bare_pid,
            job=job,
        )
        wait_until_answered(scene.bare_row)
        yield scene


@contextmanager
def _database(name: str, home: Path) -> Iterator[str]:
    """Yield the URL of a new database."""
    if name == "sqlite":
        yield f"sqlite:///{home / 'perennial.db'}"
    else:
        with postgres_server(DURABLE) as server:
            yield server.url.format(name="postgres")


@contextmanager
def _bare_service(url: str) -> Iterator[tuple[str, int]]:
    """Run the bare endpoints in a process; yield their URL and the process id."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.api.bare", url, str(port)])
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


# Numbered rows of the tables that are listed, written past the service's rules.
#
# The first FEW rows, which are the oldest, differ from the others in what lists filter by.


Row = Mapping[str, Any]

FEW, CHUNK = 20, 1000

RARE, USUAL = "few", "many"  # a model, a class, a value of metadata, an actor, an action, a subject

DATASET, WEBHOOK = "ds_lists", "wh_lists"

FIRST_NUMBER = 1000  # of versions and audit events: above those that the service has written

BEGAN = datetime(2026, 4, 1, tzinfo=UTC)


def prepare(url: str, job: str) -> None:
    """Add what the numbered rows refer to: a model, copied from that of the job, and others."""
    engine = open_engine(url)
    with engine.begin() as connection:
        model = models.c.id == select(jobs.c.model).where(jobs.c.id == job).scalar_subquery()
        held = connection.execute(select(models).where(model)).one()
        connection.execute(insert(models), [{**held._mapping, "id": RARE, "name": RARE}])
        dataset = {"id": DATASET, "name": "lists", "kind": "labelled", "last_version": 0}
        connection.execute(insert(datasets), [{**dataset, "created_at": BEGAN}])
        webhook = {"id": WEBHOOK, "url": "https://example.org", "events": [], "paused": True}
        rest = {"description": "", "secret": "", "created_at": BEGAN}
        connection.execute(insert(webhooks), [{**webhook, **rest}])
    engine.dispose()


def grow(url: str, job: str, numbers: range) -> None:
    """Write rows of these numbers to each table; jobs and versions are copies of those of a job."""
    engine = open_engine(url)
    with engine.begin() as connection:
        job_row = _only(connection, jobs, jobs.c.id == job, but="position")
        of_job = versions.c.job == job
        version_row = _only(connection, versions, of_job & (versions.c.number < FIRST_NUMBER))
        makers: dict[Table, Callable[[int], Row]] = {
            jobs: lambda number: {**job_row, **_job(number)},
            versions: lambda number: {**version_row, "number": FIRST_NUMBER + number},
            images: _image,
            thumbnails: lambda number: {"pixels": pixels(number), "thumbnail": "0" * 384},
            dataset_images: _dataset_image,
            audit_events: _audit_event,
            deliveries: _delivery,
        }
        for table, make in makers.items():
            rest = iter(numbers)
            while chunk := list(islice(rest, CHUNK)):
                connection.execute(insert(table), [make(number) for number in chunk])
    if engine.dialect.name == "postgresql":  # as it does by itself after a while
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def pixels(number: int) -> str:
    """Return the digest of an image's pixels."""
    return sha256(str(number).encode())


def created_at(number: int) -> datetime:
    """Return when a row was written."""
    return BEGAN + timedelta(minutes=number)


def _only(connection: Connection, table: Table, condition: Any, *, but: str = "") -> Row:
    row = connection.execute(select(table).where(condition)).one()._mapping
    return {name: value for name, value in row.items() if name != but}


def _kind(number: int) -> str:
    return RARE if number < FEW else USUAL


def _job(number: int) -> Row:
    rare = {"model": RARE, "lane": RARE, "status": "failed"} if number < FEW else {}
    metadata = {"team": _kind(number)}
    identity = {"id": f"job_{number:07}", "created_at": created_at(number)}
    return {**rare, **identity, "metadata": metadata}


def _image(number: int) -> Row:
    size = {"width": 28, "height": 28, "size": 900}
    return {"pixels": pixels(number), "artifact": "0" * 64, **size}


def _dataset_image(number: int) -> Row:
    texts = {"slot": "", "text": _kind(number), "file_label": f"{number}.jpg"}
    return {"dataset": DATASET, "pixels": pixels(number), "added_at": BEGAN, **texts}


def _audit_event(number: int) -> Row:
    names = dict.fromkeys(("actor", "action", "subject"), _kind(number))
    numbered = {"sequence": FIRST_NUMBER + number, "at": created_at(number)}
    return {**names, **numbered, "reason": "", "hash": "0" * 64}


def _delivery(number: int) -> Row:
    names = {"event": f"evt_{number}", "type": "job.succeeded", "object": "jobs/1", "payload": {}}
    state = {"status": "delivered", "attempts": 1, "fence": 1, "created_at": created_at(number)}
    return {"id": f"dlv_{number:07}", "webhook": WEBHOOK, **names, **state}
