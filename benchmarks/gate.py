"""Measure how often the gate is wrong, and how many images it needs: `make bench-gate`.

Suites of 100 to 10,000 images are drawn from pools on which all answers of all versions are known,
so the true difference of each pair of versions is known too. The first run makes 24 versions, by
training, mixing or noise, and evaluates them (about ten minutes on an idle core). Their answers are
kept in `benchmarks/out/gate-outcomes`, and later runs take minutes. `docs/studies/gate.md`
discusses the tables.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.calibration.intervals import (
    captions,
    corners_table,
    firm_table,
    growth_table,
    harmless_table,
    intervals_table,
    multiple_measures,
    near_duplicates,
    pairs_of_copies,
    small_samples,
)
from benchmarks.calibration.rates import DRAWS, Gate, main_table, rows_of, scenarios
from benchmarks.calibration.sample import CAPTIONS, ROOT, SETS, Outcomes, names, open_set, read_all
from benchmarks.calibration.soft import bounds, power, wrong_passes
from benchmarks.output import OUT, publish

SHARED = Path(__file__).parents[2] / "shared" / "data" / "sets"

SEED = 1


def main() -> int:
    """Collect missing outcomes and print every table; return 2 when a data folder lacks a set."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of image sets (default: the demo's pack)")
    parser.add_argument(
        "--outcomes",
        type=Path,
        default=OUT / "gate-outcomes",
        help="folder of the versions' answers",
    )
    arguments = parser.parse_args()
    versions = read_all(arguments.outcomes)
    if not set(names()) <= set(versions):
        data = arguments.data or (SHARED if SHARED.is_dir() else None)
        try:
            if data is not None:
                for name in SETS:
                    open_set(data, name)
        except FileNotFoundError as missing:
            print(f"bench-gate {missing}", file=sys.stderr)
            return 2
        from benchmarks.calibration.sample import collect  # torch, which the tables do not need

        collect(arguments.outcomes, data, lambda line: print(line, flush=True))
        versions = read_all(arguments.outcomes)
    tables(versions)
    return 0


def tables(versions: dict[str, Outcomes]) -> None:
    """Print and write every table of the study; each is drawn by a generator of its own."""
    began = time.perf_counter()
    questions = list(versions[ROOT].hits)
    facts = {
        "versions": len(versions),
        "draws": DRAWS,
        "seed": SEED,
        "images": {name: len(hits) for name, hits in versions[ROOT].hits.items()},
        "untouched": {name: versions[ROOT].accuracy(name) for name in questions},
    }

    def rng() -> np.random.Generator:
        return np.random.default_rng(SEED)

    publish("gate", list(main_table(versions, questions, rng())), **facts)
    gate, drawn = Gate(), rng()
    rows = [row for each in scenarios(versions, questions) for row in rows_of(each, gate, drawn)]
    same_images = [q for q in questions if q != "cifar100"]
    groups = [same_images, *([["cifar100"]] if "cifar100" in questions else [])]
    publish("gate-pairs", rows + list(multiple_measures(versions, groups, drawn)), **facts)
    publish("gate-small", list(small_samples(versions, questions, rng())), **facts)
    if CAPTIONS in questions:
        publish("gate-captions", list(captions(versions, rng())), **facts)
    publish("gate-copies", list(near_duplicates(rng())))
    publish("gate-pairs-of-copies", list(pairs_of_copies(rng())))
    publish("gate-views-power", list(power(versions, rng())), **facts)
    publish("gate-views-wrong", list(wrong_passes(versions, rng())), **facts)
    publish("gate-views-bounds", list(bounds(versions, rng())), **facts)
    publish("gate-intervals", list(intervals_table(rng())))
    publish("gate-corners", list(corners_table()))
    publish("gate-images", list(firm_table()))
    publish("gate-harmless", list(harmless_table()))
    publish("gate-growth", list(growth_table()))
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
