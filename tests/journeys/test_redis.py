"""The service on a real Redis that is killed, flushed and restarted; nobody restarts ours."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.server import listen
from devtools.servers import RedisServer, redis_server
from perennial.client import Client
from perennial.types import Job
from tests.nightly.faults import line
from tests.support.processes import Site, wait_for

KEY = "pk_a-key-that-only-tests-know-of"

START_S = 120  # a worker child loads torch, and the machine may be busy

SOON_S = 30

AT_ONCE_S = 1.0  # what a 202 may take, whatever the broker does


@pytest.fixture(scope="module")
def broker() -> Iterator[RedisServer]:
    """A running Redis."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, broker: RedisServer) -> Iterator[Site]:
    """An API and a worker in processes of their own, with Redis between them."""
    home: Path = tmp_path_factory.mktemp("home")
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    site = Site(
        home,
        admin_key=SecretStr(KEY),
        broker_url=broker.url,
        embedded=False,
        min_free_bytes=1,
        port=port,
        root_folders=(home,),
        sweep_seconds=0.5,
    )
    line.write_base(home / "base")
    try:
        site.start("cli", "serve")
        site.start("worker.supervision", "--exit-with-parent")
        yield site
    finally:
        site.close()


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[Client]:
    """A client of the API, once a worker beats."""
    url = f"http://127.0.0.1:{site.settings.port}"
    with Client(url, KEY, timeout=10, trust_env=False) as client:
        wait_for(client.is_ready, seconds=START_S)
        yield client


@pytest.fixture
def order(site: Site, client: Client, request: pytest.FixtureRequest) -> Callable[[int], str]:
    """Orders the import of a model of its own, which takes a moment; the job's id."""
    base = str(site.settings.home / "base")
    prefix = request.node.name[:40].replace("_", "-")

    def post(number: int) -> str:
        began = time.monotonic()
        job = client.models.create(f"{prefix}-{number}", base=base)
        assert time.monotonic() - began < AT_ONCE_S
        return job["id"]

    return post


def all_succeed(client: Client, jobs: list[str], seconds: float) -> None:
    """Wait for the jobs' ends; each has run once."""

    def ended() -> list[Job]:
        found = [client.jobs.get(job) for job in jobs]
        return found if all(job["done"] for job in found) else []

    for job in wait_for(ended, seconds=seconds):
        assert (job["status"], job["attempt"]) == ("succeeded", 1), job["error"]


def test_jobs_reach_the_worker_through_redis(client: Client, order: Callable[[int], str]) -> None:
    all_succeed(client, [order(number) for number in range(3)], START_S)


def test_killed_broker_delays_jobs_and_loses_none(
    client: Client, order: Callable[[int], str], broker: RedisServer
) -> None:
    before = [order(number) for number in range(2)]
    broker.kill()
    during = [order(number) for number in range(2, 6)]
    assert client.request("GET", "/healthz").is_success
    broker.start()
    all_succeed(client, before + during, SOON_S)


def test_flushed_broker_loses_none(
    client: Client, order: Callable[[int], str], broker: RedisServer
) -> None:
    jobs = []
    for number in range(6):
        jobs.append(order(number))
        with broker.client() as redis:
            redis.flushall()
    all_succeed(client, jobs, SOON_S)


def test_broker_killed_again_and_again_is_found_again(
    client: Client, order: Callable[[int], str], broker: RedisServer
) -> None:
    for number in range(3):
        job = order(number)
        broker.kill()
        time.sleep(0.3)
        broker.start()
        all_succeed(client, [job], SOON_S)


def test_nobody_was_restarted_and_every_line_of_the_log_is_json(site: Site, client: Client) -> None:
    (worker,) = client.workers()
    assert (worker["fresh"], worker["starts"]) == (True, 1)
    lines = site.log.splitlines()
    (greeting,) = [line for line in lines if not line.startswith("{")]
    assert greeting.startswith("Perennial is running at")
    told = [json.loads(line) for line in lines if line != greeting]
    assert {"api", "worker"} <= {line["process"] for line in told}
    claims = [line for line in told if line["event"] == "job claimed"]
    assert all(line["job"].startswith("job_") and line["fence"] == 1 for line in claims)
    assert KEY not in site.log
