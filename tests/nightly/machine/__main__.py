"""Run random operations on a service and check its guarantees: `make test-machine`.

If a guarantee is violated, the run ends with an error and the shortest sequence of steps that leads
to it. Prints how often each operation happened, and writes it to `benchmarks/out/machine.json`.
"""

import argparse
import logging
import time

from benchmarks.output import publish
from tests.nightly.machine.service import Service, run


def main() -> None:
    """Run the steps and print how often each operation happened."""
    parser = argparse.ArgumentParser(prog="make test-machine ARGS=...", description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=10_000, help="minimum number of steps (default: 10,000)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of all random choices (default: 0)"
    )
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)  # thousands of jobs fail here, as they should
    began = time.monotonic()
    run(chosen.steps, seed=chosen.seed)
    rows = [{"what": what, "times": count} for what, count in sorted(Service.happened.items())]
    seconds = round(time.monotonic() - began)
    publish("machine", rows, seed=chosen.seed, seconds=seconds)
    print(f"{Service.happened['steps']} steps in {seconds} s; every guarantee held.")


if __name__ == "__main__":
    main()
