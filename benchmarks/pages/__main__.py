"""Measure every page with few and with many rows: `make bench-pages`.

A browser that is signed in asks for one page after the other, in rounds. The database first has a
hundredth of the rows, then all of them: 1,000 versions, 10,000 jobs, audit events and deliveries of
a webhook, and 100,000 images. Ratios are those of medians to the page to sign in, which reads
nothing, measured in the same rounds. "many : few" divides the ratio with many rows by that with
few: about 1 means that the page does not depend on the number of rows. The images of a class are
counted once after each change of a dataset, here in the rounds that warm up. The first view is a
page with its style sheet and scripts, without images.

    python -m benchmarks.pages --rounds 50 --database postgresql
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.output import publish
from benchmarks.pages.measure import EMPTY, Taken, Visitor
from benchmarks.pages.places import pages_of
from benchmarks.pages.seed import MODEL, Seed, Sizes
from core.bootstrap import build, close
from core.settings import Settings
from demo.service import Service, running_service
from devtools.servers.postgres import DURABLE, postgres_server

GOAL_MS, GOAL_BYTES = 200, 150_000
RATE = str(10**9)  # requests are counted but never too many
MANY = Sizes(versions=1000, jobs=10_000, images=100_000, audit=10_000)


def few_of(many: Sizes, part: int = 100) -> Sizes:
    """Return a part of the rows, but enough for a page of each list."""
    return Sizes(
        versions=max(40, many.versions // part),
        jobs=max(100, many.jobs // part),
        images=many.images // part,
        audit=max(100, many.audit // part),
    )


def main() -> None:
    """Measure all pages and publish the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pages", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--database", default="sqlite", choices=("sqlite", "postgresql"))
    given = parser.parse_args()
    with _opened(given.database) as (service, database):
        platform = build(Settings(home=service.home, database_url=database))
        seed = Seed(platform, database)
        visitor = Visitor(service.url, service.key, service.pid)
        few, many = (
            _measured(seed, visitor, sizes, given.rounds) for sizes in (few_of(MANY), MANY)
        )
        static = visitor.static_bytes()
        seed.close()
        close(platform)
    rows = list(_rows(few, many, static))
    publish("pages", rows, given=vars(given), load_average=os.getloadavg(), static_bytes=static)
    slow = [row["page"] for row in rows if row["p50 ms"] > GOAL_MS]
    heavy = [row["page"] for row in rows if row["first view kB"] > GOAL_BYTES / 1000]
    print(f"above {GOAL_MS} ms: {', '.join(slow) or 'none'}")
    print(f"above {GOAL_BYTES:,} bytes: {', '.join(heavy) or 'none'}")


def _measured(seed: Seed, visitor: Visitor, sizes: Sizes, rounds: int) -> dict[str, Taken]:
    seed.grow(sizes)
    return visitor.measure(pages_of(sizes), rounds)


def _rows(
    few: Mapping[str, Taken], many: Mapping[str, Taken], static: int
) -> Iterator[dict[str, Any]]:
    for name, taken in many.items():
        ratio = taken.p50 / many[EMPTY].p50
        yield {
            "page": name,
            "p50 ms": 1000 * taken.p50,
            "p95 ms": 1000 * taken.p95,
            "CPU ms": 1000 * taken.cpu,
            "p50 : empty": ratio,
            "many : few": ratio / (few[name].p50 / few[EMPTY].p50),
            "page kB": taken.page_bytes / 1000,
            "first view kB": (taken.page_bytes + static) / 1000,
        }


@contextmanager
def _opened(database: str) -> Iterator[tuple[Service, str]]:
    """Start the service with its bundled model, and stop it at the end."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perennial-pages-")))
        url = f"sqlite:///{home / 'perennial.db'}"
        if database == "postgresql":
            server = stack.enter_context(postgres_server(DURABLE))
            url = server.url.format(name="postgres")
        service = stack.enter_context(
            running_service(home, PERENNIAL_DATABASE_URL=url, PERENNIAL_RATE_REQUESTS=RATE)
        )
        client = stack.enter_context(service.client())
        client.jobs.wait(client.models.create(MODEL)["id"])
        yield service, url


if __name__ == "__main__":
    main()
