"""`make test-machine`: many steps of everything that may happen to a service, in any order.

Exits with an error and the shortest steps that lead to it when a promise does not hold. What has
happened how often is a table, and `benchmarks/out/machine.json`.
"""

import argparse
import logging
import time

from benchmarks.bench import publish
from tests.machine.service import Service, run


def main() -> None:
    """Take the steps, tell what they were."""
    parser = argparse.ArgumentParser(prog="make test-machine ARGS=...", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="at least so many (default)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)  # thousands of jobs fail here, as they should
    began = time.monotonic()
    run(chosen.steps, seed=chosen.seed)
    rows = [{"what": what, "times": count} for what, count in sorted(Service.happened.items())]
    seconds = round(time.monotonic() - began)
    publish("machine", rows, seed=chosen.seed, seconds=seconds)
    print(f"{Service.happened['steps']} steps in {seconds} s, and every promise held.")


if __name__ == "__main__":
    main()
