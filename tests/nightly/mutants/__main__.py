"""Mutate the rules and list the mutants that survive the tests: `make test-mutants`.

mutmut mutates rules, and the verbs of evaluation, registry, jobs and garbage collection
(`only_mutate` in pyproject.toml); an interrupted run resumes. mypy rejects some mutants, as it
would in `make test`; tests run only on the others. `ARGS="core.gate.rules.*"` selects mutants;
`.venv/bin/mutmut show NAME` shows one.
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutmut.stats import status_by_exit_code

from benchmarks.output import publish

ROOT = Path(__file__).parents[3]
HARMLESS = Path(__file__).with_name("harmless.toml")
KILLED = {"killed", "timeout", "segfault", "suspicious"}
REFUSED = "caught by type check"
WANTED = 0.9


def main() -> int:
    """Run mutmut, print a row for each module and every survivor; 1 if too many survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.nightly.mutants", description=__doc__)
    parser.add_argument("mutants", nargs="*", help="names or patterns (default: all mutants)")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument(
        "--show", action="store_true", help="show the stored results without running mutmut"
    )
    arguments = parser.parse_args()
    if not arguments.show:
        tools = Path(sys.executable).parent
        environment = {"OMP_NUM_THREADS": "1", "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        command = [str(tools / "mutmut"), "run", *arguments.mutants]
        command += ["--max-children", str(arguments.processes)]
        subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True)
    found = dict(statuses())
    known = tomllib.loads(HARMLESS.read_text())
    alive = [name for name, status in found.items() if status in {"survived", "no tests"}]
    for name in alive:
        print(f"{name}: {found[name]}: {known.get(name, 'not reviewed yet')}")
    rows = list(rows_of(found))
    publish("mutants", rows)
    return 0 if rows[-1]["killed by tests, %"] >= 100 * WANTED else 1


def statuses() -> Iterator[tuple[str, str]]:
    """Yield each mutant that has been run, with its status."""
    for path in sorted((ROOT / "mutants").rglob("*.py.meta")):
        for name, code in json.loads(path.read_text())["exit_code_by_key"].items():
            if code is not None:
                yield name, status_by_exit_code[code]


def rows_of(found: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield a row for each module, and one for all."""
    modules: dict[str, Counter[str]] = {}
    for name, status in found.items():
        counts = modules.setdefault(name.rpartition(".")[0], Counter())
        counts["killed" if status in KILLED else status] += 1
    modules["all"] = sum(modules.values(), Counter())
    for module, counts in modules.items():
        yield {
            "module": module,
            "mutants": counts.total(),
            "refused by mypy": counts[REFUSED],
            "killed by tests": counts["killed"],
            "survived": counts["survived"],
            "no test": counts["no tests"],
            "killed by tests, %": share(counts["killed"], counts.total() - counts[REFUSED]),
            "killed or refused, %": share(counts["killed"] + counts[REFUSED], counts.total()),
        }


def share(part: int, whole: int) -> float:
    """Return the percentage that `part` is of `whole`, 100 of nothing."""
    return round(100 * part / whole, 1) if whole else 100.0


if __name__ == "__main__":
    sys.exit(main())
