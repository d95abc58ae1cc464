"""Measure what an old index of images loses by an update, and what a bridge wins back.

`make bench-bridge`: the bundled model learns ten products of Fashion-MNIST by several recipes, as
in the service. Then each version searches among images that no update has seen, in an index of the
untouched model's vectors: as it is, mapped by the bridge, and embedded again. The bridge is fitted
on validation parts and measured on test parts, by the code of the job `compare_index`. `new
products` are held-out images of the classes just learned, as the holdout of an update.
The images are those of the committed pack, and photographs of `../shared/data` if it exists.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from rich.console import Console

from benchmarks.bridge.setting import NEW, RECIPES, Setting, open_setting
from benchmarks.output import show, write
from benchmarks.study.cli import OUT
from benchmarks.study.progress import Screen
from core.clip.torch_environment import thread_count
from core.domain.vectors.compatibility import SearchMeasure, judge_index, measure_search
from core.ports import IndexComparison

Comparisons = Mapping[str, Sequence[IndexComparison]]  # of each recipe, one for each seed


def search_rows(comparisons: Comparisons) -> list[dict[str, Any]]:
    """Return a row for each recipe and search: recall@10 in percent, mean and spread over seeds."""
    rows = []
    for recipe, found in comparisons.items():
        by_search = zip(*map(_measures, found), strict=True)
        for measures in by_search:
            first = measures[0]
            rows.append(
                {
                    "recipe": recipe,
                    "suite": first.suite,
                    "search": first.search.value,
                    "queries": first.queries,
                    "raw": _spread([one.raw for one in measures]),
                    "bridged": _spread([one.bridged for one in measures]),
                    "re-embedded": _spread([one.reembedded for one in measures]),
                    "raw loses": _spread([one.raw_loss.value for one in measures]),
                    "bridge loses": _spread([one.bridged_loss.value for one in measures]),
                }
            )
    return rows


def verdict_rows(comparisons: Comparisons) -> list[dict[str, Any]]:
    """Return a row for each recipe and seed: the bridge, mean cosines, and the verdict."""
    rows = []
    for recipe, found in comparisons.items():
        for seed, one in enumerate(found):
            measures = _measures(one)
            verdict, _ = judge_index(measures)
            of_kept, _ = judge_index([measure for measure in measures if measure.suite != NEW])
            kept = [vectors for vectors in one.vectors if vectors.suite != NEW]
            rows.append(
                {
                    "recipe": recipe,
                    "run": seed + 1,
                    "bridge": one.bridge.kind,
                    "cosine": fmean(vectors.cosine for vectors in kept),
                    "bridged cosine": fmean(vectors.bridged_cosine for vectors in kept),
                    "neighbours found": fmean(vectors.neighbours_found for vectors in kept),
                    "by bridge": fmean(vectors.bridged_neighbours_found for vectors in kept),
                    "without new products": of_kept.value,
                    "verdict": verdict.value,
                }
            )
    return rows


def _measures(one: IndexComparison) -> list[SearchMeasure]:
    return [measure_search(search) for search in one.searches]


def _spread(values: Sequence[float]) -> str:
    points = [100 * value for value in values]
    return f"{fmean(points):.1f} ± {stdev(points):.1f}" if points[1:] else f"{points[0]:.1f}"


def main() -> None:
    """Train each recipe with each seed and compare; write the results after each run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge", description=__doc__)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds")
    parser.add_argument(
        "--per-class", type=int, default=200, metavar="N", help="training images per class"
    )
    parser.add_argument(
        "--images", type=int, default=1000, metavar="N", help="at most, of each suite"
    )
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of decoded images")
    given = parser.parse_args()
    threads = thread_count(given.threads)
    torch.set_num_threads(threads)
    comparisons: dict[str, list[IndexComparison]] = {name: [] for name in given.recipes}
    with Screen(Console()) as screen, tempfile.TemporaryDirectory() as work:
        setting: Setting = open_setting(given, screen, Path(work))
        runs = [(seed, name) for seed in given.seeds for name in given.recipes]
        for number, (seed, name) in enumerate(runs, start=1):
            screen.begin(number, len(runs), f"{name}, seed {seed}")
            found = setting.compare(name, seed, screen)
            comparisons[name].append(found)
            screen.end(judge_index(_measures(found))[1])
            done = {recipe: each for recipe, each in comparisons.items() if each}
            searches, verdicts = search_rows(done), verdict_rows(done)
            write(
                "bridge",
                [*searches, *verdicts],
                threads=threads,
                runs=number,
                seeds=given.seeds,
                precision=given.precision,
                images=len(setting.study_data.train),
                suites={
                    suite.name: len(suite.test.entries) for suite in setting.suites if suite.test
                },
            )
    show("recall@10 in an old index, in %", searches)
    show("verdicts", verdicts)


if __name__ == "__main__":
    main()
