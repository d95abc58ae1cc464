"""The servers that are measured: the service with rows as in use, and the bare endpoints."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.api.load import Target, wait_until_answered
from benchmarks.api.seed_database import write_rows
from demo import pack_reader
from demo.service import Service, running_service
from devtools.servers.ports import free_port
from devtools.servers.postgres import DURABLE, postgres_server
from perennial import Client

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
