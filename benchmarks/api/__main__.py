"""Measure the latency of the HTTP API and of a bare FastAPI endpoint: `make bench-api`.

1, 10 and 100 clients keep their connections and send one request at a time: `/healthz`, a job,
lists of 20, a classification. The baseline is a bare endpoint that reads one row through the same
engine and is served in the same way. Each of several rounds measures every request once; a ratio
is the median over rounds of a value divided by the bare endpoint's in the same round. On a busy
machine the CPU time of the server's process is the most reliable value.

    python -m benchmarks.api --rounds 9 --databases sqlite
    python -m benchmarks.api --training   # while a worker trains
"""

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx

from benchmarks.api.load import Taken, Target, load, wait_until_answered
from benchmarks.api.seed_database import write_rows
from benchmarks.output import publish
from demo import pack_reader
from demo.service import Service, free_port, running_service
from devtools.servers.postgres import DURABLE, postgres_server
from perennial import Client

MODEL, LISTED = "demo", 20
BARE_PORT = 8950
RATE = str(10**9)  # all clients have one key, whose requests are counted but never too many
CLASSES = '["ankle boot", "bag", "coat", "dress", "pullover"]'
BARE = "bare row"

Results = dict[tuple[str, int], list[Taken]]  # by target and number of clients, one per round


@contextmanager
def bare_service(url: str) -> Iterator[tuple[str, int]]:
    """Run the bare endpoint in its own process; yield its URL and process id."""
    port = free_port(BARE_PORT)
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.api.bare", url, str(port)])
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def targets_of(service: Service, bare: tuple[str, int], job: str) -> list[Target]:
    """Return the requests to measure, the baseline first."""
    api = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.key}"})
    image = ("0.webp", pack_reader.named("fashion_mnist")[0].data, "image/webp")
    paths = {
        "healthz": "/healthz",
        "job": f"/v1/jobs/{job}",
        "20 jobs": f"/v1/jobs?limit={LISTED}",
        "20 versions": f"/v1/models/{MODEL}/versions?limit={LISTED}",
        "20 datasets": f"/v1/datasets?limit={LISTED}",
    }
    classify = api.build_request(
        "POST",
        f"/v1/models/{MODEL}:1/classify",
        files=[("images", image)],
        data={"classes": CLASSES},
    )
    return [
        Target.of(BARE, bare[1], httpx.Request("GET", f"{bare[0]}/rows/{job}")),
        *(
            Target.of(name, service.pid, api.build_request("GET", path))
            for name, path in paths.items()
        ),
        Target.of("classify", service.pid, classify),
    ]


def make_model(client: Client) -> None:
    """Import the bundled model and wait until it is there."""
    client.jobs.wait(client.models.create(MODEL)["id"])


@contextmanager
def training(client: Client) -> Iterator[None]:
    """Keep the worker training within the context. Raises SystemExit if training ended early."""
    images = pack_reader.named("fashion_mnist")
    client.datasets.create("training")
    client.datasets.upload("training", ((image.text, image.file) for image in images))
    client.datasets.freeze("training")
    job = client.jobs.order_update(
        model=MODEL,
        dataset="training",
        dataset_version=1,
        parent=1,
        recipe={"epochs": 200},
    )["id"]
    while client.jobs.get(job)["phase"] != "training":
        time.sleep(0.2)
    yield
    ended = client.jobs.cancel(job)
    if ended["phase"] != "training":
        raise SystemExit(f"The job did not train all the while: {ended}")


def measure(
    targets: Sequence[Target], client_counts: Sequence[int], rounds: int, seconds: float
) -> Results:
    """Measure every target with every number of clients, once per round."""
    results: Results = defaultdict(list)
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        for _, clients in product(range(rounds + 1), client_counts):
            for target in targets:
                taken = pool.submit(load, target, clients, seconds).result()
                results[target.name, clients].append(taken)
    return {key: taken[1:] for key, taken in results.items()}  # the first round warms up


def rows_of(database: str, results: Results) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each request and number of clients."""
    for (name, clients), taken in results.items():
        answers = [1000 * answer for one in taken for answer in one.answers]
        yield {
            "database": database,
            "clients": clients,
            "asked for": name,
            "answers": len(answers),
            "per s": len(answers) / sum(one.seconds for one in taken),
            "p50 ms": median(answers),
            "p99 ms": quantiles(answers, n=100)[98],
            "CPU ms": 1000 * sum(one.cpu for one in taken) / len(answers),
            "p50 : bare": _ratio(results, name, clients, lambda one: median(one.answers)),
            "per s : bare": _ratio(
                results, name, clients, lambda one: len(one.answers) / one.seconds
            ),
            "CPU : bare": _ratio(results, name, clients, lambda one: one.cpu / len(one.answers)),
        }


def _ratio(results: Results, name: str, clients: int, of: Callable[[Taken], float]) -> float:
    """Return the median over rounds of a value divided by the bare endpoint's."""
    pairs = zip(results[name, clients], results[BARE, clients], strict=True)
    return median(of(ours) / of(bare) for ours, bare in pairs)


@contextmanager
def database(name: str, home: Path) -> Iterator[str]:
    """Yield the URL of a new database."""
    if name == "sqlite":
        yield f"sqlite:///{home / 'perennial.db'}"
    else:
        with postgres_server(DURABLE) as server:
            yield server.url.format(name="postgres")


def bench(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure on one database and return its rows."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perennial-api-")))
        url = stack.enter_context(database(name, home))
        service = stack.enter_context(
            running_service(home, PERENNIAL_DATABASE_URL=url, PERENNIAL_RATE_REQUESTS=RATE)
        )
        client = stack.enter_context(service.client())
        make_model(client)
        job = write_rows(url, MODEL, LISTED + 5)
        bare = stack.enter_context(bare_service(url))
        targets = targets_of(service, bare, job)
        wait_until_answered(targets[0])
        if arguments.training:
            stack.enter_context(training(client))
        results = measure(targets, arguments.clients, arguments.rounds, arguments.seconds)
    return list(rows_of(name, results))


def main() -> None:
    """Measure on each database and publish the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.api", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument(
        "--databases",
        nargs="+",
        default=["sqlite", "postgresql"],
        help="sqlite, postgresql or both",
    )
    parser.add_argument(
        "--clients", nargs="+", type=int, default=[1, 10, 100], help="numbers of concurrent clients"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds that measure every request once"
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each measurement")
    parser.add_argument("--training", action="store_true", help="run a training job meanwhile")
    arguments = parser.parse_args()
    rows = [row for name in arguments.databases for row in bench(name, arguments)]
    publish("api", rows, **vars(arguments))


if __name__ == "__main__":
    main()
