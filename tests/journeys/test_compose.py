"""The compose file's services started by hand, with its commands and its environment.

Redis is started by the file as well; PostgreSQL and S3 are the real servers that the contract
tests use. Two workers, as with `--scale worker=2`. What a container would add (its user, its
limits, its files) is not here.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from demo.images import by_class
from devtools.ports import free_port
from devtools.programs import REDIS, find
from devtools.servers import FAST, postgres_server, run_sql, s3_server
from perennial.client import Client
from perennial.errors import JobFailed, ServiceError
from perennial.types import Job, Worker
from tests.support.deployment import compose
from tests.support.deployment.compose import ByHand
from tests.support.processes import wait_for

SECRETS = {
    "PERENNIAL_ADMIN_KEY": "pk_only-this-journey-knows-of-it",
    "PERENNIAL_INFERENCE_KEY": "pk_that-api-and-inference-share",
    "POSTGRES_PASSWORD": "open-the-database",
    "REDIS_PASSWORD": "open-the-broker",
    "S3_ACCESS_KEY": "an-access-key",
    "S3_SECRET_KEY": "a-secret-key-of-some-length",
}

CHOSEN = {"COMPOSE_PROFILES": "cpu", "WORKER_CPUS": "1"}  # two workers, beside other tests

LATE_S = 300  # three processes load torch, and the machine may be busy

RECIPE = {"epochs": 6, "batch_size": 8, "sentences": 20, "replay_weight": 1.0, "seed": 3}


class Stack:
    """Everything that `docker compose up --scale worker=2` would start of ours."""

    def __init__(self, hands: ByHand, client: Client, workers: list["subprocess.Popen[bytes]"]):
        self.hands = hands
        self.client = client
        self.workers = workers

    def living(self) -> list[Worker]:
        """The workers that the API believes to live."""
        try:
            workers = self.client.workers()
        except (ServiceError, httpx.TransportError):
            return []
        return [worker for worker in workers if worker["fresh"]]

    def end_of(self, job: str) -> Job:
        """The job once it has succeeded."""
        try:
            return self.client.jobs.wait(job, every=0.3, timeout=LATE_S)
        except (JobFailed, TimeoutError):
            print(self.hands.log)
            raise


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All services, each once those that it depends on are there."""
    file = compose.services(SECRETS | CHOSEN)
    ports = {name: str(free_port()) for name in ("postgres", "redis", "8750", "8751")}
    folder = tmp_path_factory.mktemp("compose")
    find(REDIS)
    with (
        database(ports["postgres"]),
        s3_server() as (s3, _),
        ByHand(file, folder / "servers", {}) as servers,
    ):
        servers.start("redis", "--dir", "/data", "--bind", "127.0.0.1", "--port", ports["redis"])
        places = {
            "postgres:5432": f"127.0.0.1:{ports['postgres']}",
            "redis:6379": f"127.0.0.1:{ports['redis']}",
            "http://s3:7070": s3,
            "inference:8751": f"127.0.0.1:{ports['8751']}",
            "8750": ports["8750"],
            "8751": ports["8751"],
        }
        url, key = f"http://127.0.0.1:{ports['8750']}", SECRETS["PERENNIAL_ADMIN_KEY"]
        with (
            ByHand(file, folder / "ours", places) as hands,
            Client(url, key, trust_env=False) as client,
        ):
            hands.run("migrate", seconds=LATE_S)
            hands.start("api")
            hands.start("inference", PERENNIAL_INFERENCE_PORT=ports["8751"])
            stack = Stack(hands, client, [hands.start("worker"), hands.start("worker")])
            wait_for(lambda: len(stack.living()) == 2, seconds=LATE_S, every=0.3)
            yield stack


@contextmanager
def database(port: str) -> Iterator[None]:
    """PostgreSQL, with what its image makes of POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB."""
    with postgres_server(f"{FAST} -c listen_addresses=127.0.0.1 -c port={port}") as server:
        where, password = f"{server.url}&port={port}", SECRETS["POSTGRES_PASSWORD"]
        run_sql(where, "postgres", f"CREATE ROLE perennial LOGIN PASSWORD '{password}'")
        run_sql(where, "postgres", "CREATE DATABASE perennial OWNER perennial")
        yield


def test_every_service_is_healthy_by_its_own_check(stack: Stack) -> None:
    assert stack.client.is_ready()
    for service in ("api", "worker"):
        assert stack.hands.is_healthy(service), stack.hands.log
    wait_for(lambda: stack.hands.is_healthy("inference"), seconds=LATE_S, every=0.5)


def test_an_update_outlives_its_first_worker_and_is_served(stack: Stack) -> None:
    client = stack.client
    job = order_update(stack)
    busy = worker_in_mid_training(stack, job)
    terminated = next(process for process in stack.workers if process.pid == busy["pid"])
    terminated.terminate()
    assert terminated.wait(LATE_S) == 0

    ended = stack.end_of(job)
    assert (ended["attempt"], ended["result"]["version"]) == (2, 2)
    assert busy["id"] not in {worker["id"] for worker in stack.living()}
    images = by_class("fashion_mnist", "test")
    classes = sorted(images)[:2]
    asked = [images[name][0].file for name in classes]
    served = client.classify("shop:2", asked, classes)
    assert served["version"] == 2
    assert {answer["predictions"][0]["class"] for answer in served["data"]} <= set(classes)


def order_update(stack: Stack) -> str:
    """Import the bundled model, upload two classes, and order an update; its job."""
    client = stack.client
    imported = client.models.create("shop", base="bundled")
    client.datasets.create("products", kind="labelled")
    images = by_class("fashion_mnist", "train")
    taught = [image for name in sorted(images)[:2] for image in images[name][:24]]
    client.datasets.upload("products", ((image.text, image.file) for image in taught))
    client.datasets.freeze("products")
    stack.end_of(imported["id"])
    job = client.jobs.order_update(
        model="shop",
        dataset="products",
        dataset_version=1,
        parent=1,
        recipe=RECIPE,
        auto_promote=False,
    )
    return job["id"]


def worker_in_mid_training(stack: Stack, job: str) -> Worker:
    """The worker that trains, some steps into it."""

    def found() -> Worker | None:
        state = stack.client.jobs.get(job)
        assert not state["done"], state
        if state["phase"] != "training" or state["progress"]["step"] < 3:
            return None
        return next((worker for worker in stack.living() if worker["job"] == job), None)

    return wait_for(found, seconds=LATE_S, every=0.2)


def test_what_ours_write_is_json_and_holds_no_secret(stack: Stack) -> None:
    told = stack.hands.lines("migrate", "api", "inference", "worker")
    plain = [line for line in told if not line.startswith("{")]
    greetings = ("Perennial is running at", "The database schema is", "Created the bucket")
    assert [line for line in plain if not line.startswith(greetings)] == []
    lines = [json.loads(line) for line in told if line.startswith("{")]
    assert {"api", "inference", "worker"} <= {line["process"] for line in lines}
    claims = {line["worker"] for line in lines if line["event"] == "job claimed"}
    assert claims
    for secret in SECRETS.values():
        assert secret not in "\n".join(told)
