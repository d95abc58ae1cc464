"""Measure how versions are served: `make bench-serving`.

- classify: images a second and waits, beside a bare open_clip loop.
- beside: our service, LitServe and Infinity embed the same images, one after the other.
- costs: CPU time of a request and of a move, by process, with one part altered at a time.
- memory: start time and memory of the inference process, by engine.
- moves: an alias moves between two versions while clients classify over it.
- updates: wall time of an update, by engine.

The module of each part says how it measures.

    python -m benchmarks.serving --parts classify --models tiny --rounds 5 --clients 1 16 64
    python -m benchmarks.serving --parts beside --shares 0.5 1.5 --turn 20
    python -m benchmarks.serving --parts costs --rounds 8
    python -m benchmarks.serving --parts moves
"""

import argparse
import os
from pathlib import Path
from typing import Any

from benchmarks.output import OUT, show, write
from benchmarks.serving.beside import bench_beside
from benchmarks.serving.classify import AB, MODELS, PYTHON, bench_classify
from benchmarks.serving.costs import bench_costs
from benchmarks.serving.memory import bench_memory
from benchmarks.serving.moves import bench_moves
from benchmarks.serving.updates import bench_updates

PARTS = {
    "classify": bench_classify,
    "beside": bench_beside,
    "costs": bench_costs,
    "memory": bench_memory,
    "moves": bench_moves,
    "updates": bench_updates,
}


def parsed() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__.split("\n", maxsplit=1)[0]
    )
    add = parser.add_argument
    add("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    add("--side", type=int, default=224, help="the JPEGs' width and height")
    add("--threads", type=int, default=os.cpu_count(), help="of torch")
    add(
        "--models",
        nargs="+",
        default=list(MODELS),
        choices=MODELS,
        help="costs, moves, updates: tiny",
    )
    part = parser.add_argument_group("classify, costs, updates").add_argument
    part("--clients", nargs="+", type=int, default=[1, 16, 64], help="at once; costs: the first")
    part("--sender", default=PYTHON, choices=[PYTHON, AB], help="classify: ab is ApacheBench")
    part("--rounds", type=int, default=5, help="rounds that measure all once")
    part("--seconds", type=float, default=3.0, help="length of each measurement")
    part = parser.add_argument_group("beside").add_argument
    part("--shares", nargs="+", type=float, default=[0.25, 0.5, 0.75, 1.0, 1.5], help="of bare")
    part("--turn", type=float, default=12.0, help="seconds at each rate, at least")
    part("--environments", type=Path, default=Path("var/serving"), help="of LitServe, Infinity")
    part = parser.add_argument_group("moves").add_argument
    part("--moves", type=int, default=1000)
    part("--moves-a-second", type=float, default=2.5)
    part("--watching", type=int, default=16, help="clients that classify meanwhile")
    part("--window", type=float, default=20.0, help="seconds with, and without, moves")
    return parser.parse_args()


def main() -> None:
    """Measure the parts and publish their tables."""
    given = parsed()
    rows: list[dict[str, Any]] = []
    for part in given.parts:
        found = PARTS[part](given)
        show(f"serving: {part}", found)
        rows += [{"part": part, **row} for row in found]
    write("serving", rows, given=vars(given), load_average=os.getloadavg())
    print(f"written to {OUT / 'serving'}.json")


if __name__ == "__main__":
    main()
