"""Measure an index in PostgreSQL that follows an alias: `make bench-index`.

- filling: vectors a second by `perennial index create`, beside bare loops that embed and copy.
- moves: updates and rollbacks in a row, with a searcher that asks all the time and kills at random
  moments: recall beside fresh indexes, queries without an answer, rows that are missing or wrong.
- bridge: the cost of mapping vectors, beside new ones.

The module of each part says how it measures. PostgreSQL is started with pgvector, and flushes what
it commits; the model is the bundled one.

    python -m benchmarks.index
    python -m benchmarks.index --updates 3 --rollbacks 1 --kills 3 --rows 300 --rounds 1
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.index.filling import bench_bridge, bench_filling
from benchmarks.index.moves import bench_moves
from benchmarks.index.scene import a_scene
from benchmarks.output import OUT, show, write


def main() -> None:
    """Measure all parts, and print their tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.index", description=__doc__.split("\n", maxsplit=1)[0]
    )
    add = parser.add_argument
    add("--rows", type=int, default=3000, help="images of the index")
    add("--updates", type=int, default=20)
    add("--rollbacks", type=int, default=5, help="spread over the updates")
    add("--kills", type=int, default=20, help="of the process that moves the index")
    add("--rounds", type=int, default=3, help="that measure each way of filling once")
    add("--epochs", type=int, default=3, help="of each update")
    add("--threads", type=int, default=1, help="of the service and of the bare loops")
    given = parser.parse_args()
    with (
        TemporaryDirectory(prefix="perennial-index-") as home,
        a_scene(Path(home), rows=given.rows, epochs=given.epochs, threads=given.threads) as scene,
    ):
        filling = bench_filling(scene, given.rounds, given.threads)
        show("filling", filling)
        moved = bench_moves(scene, given.updates, given.rollbacks, given.kills)
        moves = [{"moves": name, "value": value} for name, value in moved.items()]
        show("moves", moves)
        bridge = bench_bridge(scene, given.rounds)
        show("bridge", bridge)
    found = {"filling": filling, "moves": moved, "bridge": bridge}
    write("index", [found], asked=vars(given))
    print(f"written to {OUT}/index.json")


if __name__ == "__main__":
    main()
