"""The time that a bad move stands in MLflow before a guard undoes it: `make bench-mlflow`."""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.mlflow.stand import Stand, a_stand
from benchmarks.output import publish


def main() -> None:
    """Move an alias at random for each pause between looks, and print how long bad ones stood."""
    parser = argparse.ArgumentParser(prog="make bench-mlflow ARGS=...", description=__doc__)
    parser.add_argument("--moves", type=int, default=200, help="at random (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moves")
    parser.add_argument(
        "--every", type=float, nargs="+", default=[0.01, 0.1, 1.0], help="seconds between looks"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, a_stand(Path(home)) as stand:
        stand.mirror()
        rows = [row(stand, every, chosen.moves, chosen.seed) for every in chosen.every]
    publish("mlflow", rows, seed=chosen.seed)


def row(stand: Stand, every: float, moves: int, seed: int) -> dict[str, object]:
    """Move under a guard that looks so often; each bad move is waited for."""
    with stand.guarding(every) as events:
        found = stand.move(moves, seed=seed, waited=1.0)
    stood = found["stood"]
    return {
        "looks every s": every,
        "moves": moves,
        "bad": found["bad"],
        "moved back": len(events),
        "median s": float(np.median(stood)),
        "p99 s": float(np.quantile(stood, 0.99)),
        "worst s": max(stood),
        "left standing": int(found["at"] in stand.bad()),
    }


if __name__ == "__main__":
    main()
