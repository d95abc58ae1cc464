"""Schemathesis against a seeded service, with the key of one role."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.principal import Role
from tests.nightly.fuzz.seeded import seeded

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
