"""Measure the HTTP API beside bare FastAPI endpoints: `make bench-api`.

Clients keep their connections and send one request at a time. The bare endpoints read and write
the same rows through the same engine and are served in the same way. Parts:

- latency: 1, 10 and 100 clients send one kind of request; the baseline reads one row. Each of
  several rounds measures every request once.
- sustained: 200 clients send a mix of requests for a minute, on PostgreSQL, while a worker trains.
  The baseline is the same mix of bare endpoints, in windows that alternate with the service's.
- lists: one client reads lists of tables with 100 and with 100,000 rows.

A ratio is the median over rounds or windows of a value divided by the baseline's in the same one.
On a busy machine the CPU time of the server's process is the most reliable value.

    python -m benchmarks.api --parts latency --rounds 9 --databases sqlite
    python -m benchmarks.api --parts latency --training   # while a worker trains
    python -m benchmarks.api --parts sustained --sustained-seconds 30
"""

import argparse
import os
from contextlib import nullcontext
from typing import Any

from benchmarks.api import lists as latency
from benchmarks.api.scene import opened
from benchmarks.output import OUT, show, write

DATABASES = ("sqlite", "postgresql")

PARTS = ("latency", "sustained", "lists")

BUSY = "postgresql"  # the database of the sustained load


def bench_latency(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each kind of request with few and many clients."""
    rows: list[dict[str, Any]] = []
    for database in given.databases:
        with opened(database) as scene, scene.training() if given.training else nullcontext():
            targets = latency.targets_of(scene)
            results = latency.measure(targets, given.clients, given.rounds, given.seconds)
            rows += latency.rows_of(scene, results)
    return rows


def bench_sustained(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the mix of requests while a worker trains."""
    with opened(BUSY) as scene, scene.training():
        windows = latency.measure_sustained(scene, given.sustained_clients, given.sustained_seconds)
        for one, bare in windows:
            for error in (*one.errors, *(f"bare {error}" for error in bare.errors)):
                print(error)
        return latency.rows_of_windows(scene, given.sustained_clients, windows)


def bench_lists(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure lists of tables with few and with many rows."""
    rows: list[dict[str, Any]] = []
    for database in given.databases:
        with opened(database) as scene:
            rows += latency.measure_lists(scene, given.rows, given.rounds, given.seconds)
    return rows


def main() -> None:
    """Measure the parts and publish their tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.api", description=__doc__.split("\n", maxsplit=1)[0]
    )
    add = parser.add_argument
    add("--parts", nargs="+", default=PARTS, choices=PARTS)
    add("--databases", nargs="+", default=DATABASES, choices=DATABASES)
    add("--clients", nargs="+", type=int, default=[1, 10, 100], help="numbers of clients (latency)")
    add("--rounds", type=int, default=5, help="rounds that measure every request once")
    add("--seconds", type=float, default=0.5, help="length of each measurement in a round")
    add("--training", action="store_true", help="run a training job meanwhile (latency)")
    add("--sustained-clients", type=int, default=200)
    add("--sustained-seconds", type=float, default=60.0)
    add("--rows", nargs=2, type=int, default=[100, 100_000], help="few and many (lists)")
    given = parser.parse_args()
    measured = {"latency": bench_latency, "sustained": bench_sustained, "lists": bench_lists}
    rows: list[dict[str, Any]] = []
    for part in given.parts:
        found = measured[part](given)
        show(f"api: {part}", found)
        rows += [{"part": part, **row} for row in found]
    write("api", rows, given=vars(given), load_average=os.getloadavg())
    print(f"written to {OUT / 'api'}.json")


if __name__ == "__main__":
    main()
