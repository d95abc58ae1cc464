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

from mutmut.stats import status_by_exit_code

from benchmarks.output import publish

ROOT = Path(__file__).parents[3]
HARMLESS = Path(__file__).with_name("harmless.toml")
KILLED = {"killed", "timeout", "segfault", "suspicious"}
REFUSED = "caught by type check"
WANTED = 0.9


def main() -> int:
    """Run mutmut, print every survivor and how many there are; 1 if too many survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.nightly.mutants", description=__doc__)
    parser.add_argument("mutants", nargs="*", help="names or patterns (default: all mutants)")
    tools = Path(sys.executable).parent
    environment = {"OMP_NUM_THREADS": "1", "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    command = [str(tools / "mutmut"), "run", *parser.parse_args().mutants]
    subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True)
    found = dict(statuses())
    known = tomllib.loads(HARMLESS.read_text())
    alive = [name for name, status in found.items() if status in {"survived", "no tests"}]
    for name in alive:
        print(f"{name}: {found[name]}: {known.get(name, 'not reviewed yet')}")
    counts = Counter("killed" if status in KILLED else status for status in found.values())
    tested = counts.total() - counts[REFUSED]
    share = round(100 * counts["killed"] / tested, 1) if tested else 100.0
    publish("mutants", [{"mutants": counts.total(), **counts, "killed by tests, %": share}])
    return 0 if share >= 100 * WANTED else 1


def statuses() -> Iterator[tuple[str, str]]:
    """Yield each mutant that has been run, with its status."""
    for path in sorted((ROOT / "mutants").rglob("*.py.meta")):
        for name, code in json.loads(path.read_text())["exit_code_by_key"].items():
            if code is not None:
                yield name, status_by_exit_code[code]


if __name__ == "__main__":
    sys.exit(main())
