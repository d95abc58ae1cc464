"""Schemathesis against a seeded service, with the key of one role."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core import bootstrap
from core.access.keys import ensure_admin_key
from core.datasets.thumbnail_rows import ensure_split
from core.gate.policies import ensure_default_policy
from core.principal import Role
from tests.support.api.browsing import make_line
from tests.support.api.orders import a_dataset, update
from tests.support.api.seeds import a_root
from tests.support.api.served import Served, serving
from tests.support.api.service import Service, running, settings_of

HERE = Path(__file__).parent

PHASES = ("examples", "coverage", "fuzzing", "stateful")

# What ends a key or a thing that other requests need is asked of a service of its own, at the end.
DESTROYING = "^(delete_.*|revoke_api_key|rotate_api_key)$"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The counts and failures of a run."""

    cases: int
    operations: int
    failures: Sequence[Mapping[str, Any]]  # type, title, and the operations where it was seen
    log: str


def fuzz(
    role: Role, home: Path, *, examples: int, seed: int, phases: Sequence[str] = PHASES
) -> Sequence[Outcome]:
    """Ask every operation with a key of this role; what destroys comes last, of a fresh service."""
    found = []
    for part, chosen in (("rest", "--exclude"), ("destroying", "--include")):
        where = home / part
        where.mkdir(parents=True)
        only = [f"{chosen}-operation-id-regex", DESTROYING]
        asked = [
            f"--max-examples={examples}",
            f"--seed={seed}",
            f"--phases={','.join(phases)}",
            *only,
        ]
        with seeded(where) as served:
            made = served.client.keys.create(f"fuzz-{role}", role=role)
            found.append(_run(where, served.url, made["secret"], asked))
    return found


def _run(where: Path, url: str, key: str, asked: Sequence[str]) -> Outcome:
    config = shutil.copy(HERE / "schemathesis.toml", where)
    report = where / "report.json"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
            *("run", f"{url}/openapi.json", "--url", url, "--checks=all", "--no-color"),
            *("--report=json", f"--report-json-path={report}", *asked),
        ],
        cwd=where,
        env=os.environ
        | {
            "FUZZ_KEY": key,
            "HYPOTHESIS_STORAGE_DIRECTORY": str(where),
            "PYTHONPATH": str(HERE),
            "SCHEMATHESIS_HOOKS": "bodies",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if not report.is_file():
        raise RuntimeError(ran.stdout + ran.stderr)
    read = json.loads(report.read_bytes())
    if read["errors"] or not read["complete"]:
        raise RuntimeError(ran.stdout)
    return Outcome(
        cases=read["test_cases"]["generated"],
        operations=read["operations"]["tested"],
        failures=read["failures"],
        log=ran.stdout,
    )


@contextmanager
def seeded(home: Path) -> Iterator[Served]:
    """Serve within the context: two models, one of two versions, a suite, datasets; no worker.

    Writes the ids of its jobs and images, which nobody can choose, to files in `home`.
    """
    unlimited = {"max_waiting_per_model": 0, "max_waiting_per_key": 0, "rate_requests": 1_000_000}
    settings = settings_of(home, **unlimited)
    bootstrap.migrate(settings)
    with running(settings) as service:
        ensure_admin_key(service.platform)
        ensure_default_policy(service.platform)
        ensure_split(service.platform)
        with pytest.MonkeyPatch.context() as patch:
            make_line(service.platform, patch)
        a_root(service.platform, "spare")
        a_dataset(service, "products", boot=0, bag=3)
        _write_ids(service, home)
    with serving(settings) as served:
        yield served


def _write_ids(service: Service, home: Path) -> None:
    job = service.client.post("/v1/jobs", json=update(model="line")).json()
    images = service.client.get("/v1/datasets/products/images").json()["data"]
    (home / "jobs.txt").write_text(f'"{job["id"]}"\n')
    (home / "pixels.txt").write_text("".join(f'"{image["pixels"]}"\n' for image in images))
