"""Send every operation random requests and check every answer: `make test-fuzz`.

Schemathesis makes the requests from the OpenAPI document, valid and invalid, single and in
sequences, and runs all its checks on the answers, with a key of each role in turn. Prints a table
and the requests that failed, and writes `benchmarks/out/fuzz.json`.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.output import publish
from core.principal import Role
from tests.nightly.fuzz.fuzzing import fuzz


def main() -> None:
    """Fuzz with the key of each role; end with an error if a check failed."""
    parser = argparse.ArgumentParser(prog="make test-fuzz ARGS=...", description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="of each operation and phase")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices")
    parser.add_argument("--roles", nargs="+", type=Role, default=list(Role), choices=list(Role))
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    rows = []
    for role in chosen.roles:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            outcomes = fuzz(role, Path(folder), examples=chosen.examples, seed=chosen.seed)
        failures = [failure for one in outcomes for failure in one.failures]
        print(*(one.log for one in outcomes if one.failures), sep="\n")
        rows.append(
            {
                "role": role,
                "operations": sum(one.operations for one in outcomes),
                "requests": sum(one.cases for one in outcomes),
                "failed checks": sum(failure["count"] for failure in failures),
                "seconds": round(time.monotonic() - began),
            }
        )
    publish("fuzz", rows, examples=chosen.examples, seed=chosen.seed)
    sys.exit(any(row["failed checks"] for row in rows))


if __name__ == "__main__":
    main()
