"""Measure how fast jobs leave the queue, and what a claim costs as the queue grows.

`make bench-queue` (ARGS="--jobs 200 --sizes 100 1000 10000"), on a PostgreSQL that syncs every
commit and on SQLite. First 4 worker processes run 200 updates of 20 models: claim, lease, fence,
candidate, report, verdict and end are the service's own code; training and scoring are skipped.
Then single claims are measured on queues with more and more rows; `claims_plan.py` defines what is
counted. Exits with 1 if the cost of a claim grows with the queue.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.output import publish, show
from benchmarks.queue import drain as claims_plan
from benchmarks.queue.drain import MODELS, SHAPES, WORKERS, drain
from devtools.servers import DURABLE, postgres_server, run_sql

FLAT = 3.0  # growth allowed: a hundred rows are a few pages; an index look-up reads two or three


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, list[str]]]:
    """Yield the URLs of new databases by kind, as many as the measurements need."""
    count = 2 + len(SHAPES)
    with postgres_server(DURABLE) as server:
        for number in range(count):
            run_sql(server.url, "postgres", f"CREATE DATABASE bench{number}")
        yield {
            "PostgreSQL": [server.url.format(name=f"bench{n}") for n in range(count)],
            "SQLite": [f"sqlite:///{folder / f'bench{n}.db'}" for n in range(count)],
        }


def main() -> int:
    """Run both measurements on both databases; return 0 when claims are flat."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="updates that the workers run")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[100, 1000, 10_000], help="rows in the queue"
    )
    arguments = parser.parse_args()
    drained, rows, plans = [], [], {}
    with tempfile.TemporaryDirectory() as name, databases(Path(name)) as urls:
        for database, (first, second, *others) in urls.items():
            for url, whole in ((first, True), (second, False)):
                folder = Path(name) / f"{database} {whole}"
                drained.append(drain(database, url, folder, arguments.jobs, whole=whole))
            for shape, url in zip(SHAPES, others, strict=True):
                for row, plan in claims_plan.grow(database, url, shape, arguments.sizes):
                    rows.append(row)
                    plans[f"{database}, {row['size']} rows, {shape}"] = plan
    for title, plan in plans.items():
        print(f"\n{title}\n{plan}")
    show(f"{arguments.jobs} jobs of {MODELS} models on {WORKERS} workers", drained)
    growth = claims_plan.growth(rows)
    publish("queue", rows, drained=drained, growth=growth, plans=plans)
    show("growth of the work of a claim", growth)
    return int(any(row["growth"] > FLAT for row in growth if row["models"] == "fixed"))


if __name__ == "__main__":
    raise SystemExit(main())
