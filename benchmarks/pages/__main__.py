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
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import psutil

from api.http.authentication import SESSION_COOKIE
from api.http.routing import PAGES, SIGN_IN, STATIC
from benchmarks.output import publish
from benchmarks.pages.seed import DATASET, MODEL, WEBHOOK, Seed, Sizes, job_of
from core.bootstrap import build, close
from core.settings import Settings
from demo.service import Service, running_service
from devtools.servers import DURABLE, postgres_server

# Requests of pages by a browser that is signed in, one after the other.


EMPTY = "empty page"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The times of a page's requests, and the size of the page."""

    seconds: Sequence[float]
    cpu: float  # seconds of the server, for each request
    page_bytes: int  # of its HTML

    @property
    def p50(self) -> float:
        """The median, in seconds."""
        return median(self.seconds)

    @property
    def p95(self) -> float:
        """The time that one request in twenty exceeds, in seconds."""
        return quantiles(self.seconds, n=20)[18]


class Visitor:
    """A browser with a session."""

    def __init__(self, url: str, key: str, pid: int) -> None:
        self._client = httpx.Client(base_url=url, timeout=120, trust_env=False)
        self._client.post(SIGN_IN, data={"key": key})
        if SESSION_COOKIE not in self._client.cookies:
            raise SystemExit("The benchmark could not sign in.")
        self._server = psutil.Process(pid)

    def measure(self, pages: Mapping[str, str], rounds: int) -> dict[str, Taken]:
        """Ask for each page once a round, after two rounds that warm up, the empty page first."""
        seconds: dict[str, list[float]] = defaultdict(list)
        cpu: dict[str, float] = defaultdict(float)
        sizes: dict[str, int] = {}
        for number in range(-2, rounds):
            for name, path in {EMPTY: SIGN_IN, **pages}.items():
                worked, began = self._worked(), time.perf_counter()
                answer = self._client.get(path)
                took = time.perf_counter() - began
                if answer.status_code != 200:
                    raise SystemExit(f"{path} was answered with {answer.status_code}.")
                sizes[name] = len(answer.content)
                if number >= 0:
                    seconds[name].append(took)
                    cpu[name] += (self._worked() - worked) / rounds
        return {
            name: Taken(seconds=found, cpu=cpu[name], page_bytes=sizes[name])
            for name, found in seconds.items()
        }

    def static_bytes(self) -> int:
        """Return the size of the style sheet and the scripts, which every page needs."""
        text = self._client.get(PAGES).text
        files = set(re.findall(rf'"({STATIC}[^"]+\.(?:css|js))"', text))
        return sum(len(self._client.get(path).content) for path in files)

    def _worked(self) -> float:
        times = self._server.cpu_times()
        return float(times.user + times.system)


# The pages that are measured.


HERE = f"/ui/models/{MODEL}"


def pages_of(sizes: Sizes) -> dict[str, str]:
    """Return the paths of pages by name; "late" pages are near the end of a list."""
    newest, middle = sizes.versions, sizes.versions // 2
    changes = f"{HERE}/changes"
    return {
        "models": "/ui",
        "model": HERE,
        "model, older versions": f"{HERE}?before={middle}",
        "version": f"{HERE}/versions/{newest}",
        "report": f"{HERE}/versions/{newest}/report",
        "changes": f"{changes}?now={newest}",
        "changed images": f"{changes}/images?before={newest - 1}&now={newest}",
        "map": f"{HERE}/map?now={newest}",
        "promotion": f"{HERE}/aliases/production/promotion?version={newest - 1}",
        "rollback": f"{HERE}/aliases/production/rollback",
        "try": f"{HERE}/try",
        "policy": f"{HERE}/policy",
        "change of policy": f"{HERE}/policy/change",
        "trial": f"{HERE}/trial",
        "suites and policies": "/ui/suites",
        "datasets": "/ui/datasets",
        "datasets, late": "/ui/datasets?after=ds_000020",
        "dataset": f"/ui/datasets/{DATASET}",
        "images of a class": f"/ui/datasets/{DATASET}/images?class=class+7",
        "near-duplicates": f"/ui/datasets/{DATASET}/near-duplicates",
        "dataset version": f"/ui/datasets/update-{newest}/versions/1",
        "images of a version": f"/ui/datasets/update-{newest}/versions/1/images",
        "order of an update": f"/ui/datasets/update-{newest}/versions/1/update",
        "jobs": "/ui/jobs",
        "jobs, late": "/ui/jobs?after=job_00000050",
        "jobs that failed": "/ui/jobs?status=failed",
        "jobs of a model": f"/ui/jobs?model={MODEL}&type=update",
        "job": f"/ui/jobs/{job_of(newest)}",
        "audit": "/ui/audit",
        "audit, late": "/ui/audit?after=60",
        "audit of a model": f"/ui/audit?model={MODEL}",
        "audit of a key": "/ui/audit?actor=key-1",
        "keys": "/ui/keys",
        "webhooks": "/ui/webhooks",
        "webhook": f"/ui/webhooks/{WEBHOOK}",
    }


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
